/*
 * setns(2) refuses to move a task to another mount namespace while it shares its root and current directory
 * (CLONE_FS) with another task. With the descriptor of a process and CLONE_NEWNS beside another flag it does not: the
 * caller joins, and the task it shares them with, which stays in its mount namespace, gets the root directory of the
 * other one.
 *
 * cc -o setns-of-shared-root setns-of-shared-root.c && ./setns-of-shared-root     (root, Linux 5.8)
 *
 * Exit status: 0 the root directory is as it was, 1 it is not, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char stacks[2][65536] __attribute__((aligned(16)));
static int ready[2], process, alone, beside;

/* Is in a mount namespace in which something else is the root. */
static int elsewhere(void *unused)
{
	(void)unused;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("other", "/", "tmpfs", 0, NULL))
		return 2;
	if (write(ready[1], "r", 1) == 1)
		pause();
	return 0;
}

/* Shares root and current directory with the main task, and joins. */
static int joins(void *unused)
{
	(void)unused;
	alone = setns(process, CLONE_NEWNS) ? errno : 0;
	beside = setns(process, CLONE_NEWNS | CLONE_NEWUTS) ? errno : 0;
	return 0;
}

static int run(void)
{
	char before[64] = "", after[64] = "", byte;
	struct stat root, now;
	int flags = CLONE_NEWNS | CLONE_NEWUTS | SIGCHLD;
	int proc = open("/proc", O_RDONLY | O_DIRECTORY);
	pid_t other, caller;

	if (pipe(ready))
		return 2;
	other = clone(elsewhere, stacks[0] + sizeof(stacks[0]), flags, NULL);
	close(ready[1]);
	if (other < 0 || read(ready[0], &byte, 1) != 1) {
		fputs("cannot make a mount namespace\n", stderr);
		return 2;
	}
	process = syscall(SYS_pidfd_open, other, 0);
	stat("/", &root);
	readlinkat(proc, "self/ns/mnt", before, sizeof(before) - 1);
	caller = clone(joins, stacks[1] + sizeof(stacks[1]), CLONE_FS | CLONE_VM | SIGCHLD, NULL);
	waitpid(caller, NULL, 0);
	stat("/", &now);
	readlinkat(proc, "self/ns/mnt", after, sizeof(after) - 1);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);

	printf("setns(process, CLONE_NEWNS):              %s\n", alone ? strerror(alone) : "0");
	printf("setns(process, CLONE_NEWNS|CLONE_NEWUTS): %s\n", beside ? strerror(beside) : "0");
	printf("mount namespace of the sharer:            %s\n", strcmp(before, after) ? "another" : "as before");
	printf("root directory of the sharer:             %s\n", now.st_dev == root.st_dev ? "as before" : "another");
	if (now.st_dev != root.st_dev)
		return 1;
	return process >= 0 && alone == EINVAL && beside == EINVAL ? 0 : 2;
}

int main(void)
{
	int result, is_init = getpid() == 1;

	if (is_init) {
		mkdir("/proc", 0755);
		mount("proc", "/proc", "proc", 0, NULL);
	}
	result = run();
	if (is_init) {
		printf("exit status %d\n", result);
		fflush(stdout);
		reboot(RB_POWER_OFF);
	}
	return result;
}
