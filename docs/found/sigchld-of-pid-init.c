/*
 * The process 1 of a PID namespace sets SIGCHLD to SIG_IGN at its end. If it shares its table of signal handlers
 * (CLONE_SIGHAND) with a task outside the namespace, that task ignores SIGCHLD from then on: its children are reaped
 * by the kernel, and its waitpid(2) fails with ECHILD.
 *
 * cc -o sigchld-of-pid-init sigchld-of-pid-init.c && ./sigchld-of-pid-init     (root)
 *
 * Exit status: 0 the handlers are as they were, 1 they are not, 2 it could not be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char stack[65536] __attribute__((aligned(16)));

static int end(void *unused)
{
	(void)unused;
	return 0;
}

int main(void)
{
	struct sigaction before, after;
	int flags = CLONE_NEWPID | CLONE_VM | CLONE_SIGHAND | SIGCHLD;
	int status;
	pid_t init, child;

	sigaction(SIGCHLD, NULL, &before);
	init = clone(end, stack + sizeof(stack), flags, NULL);
	if (init < 0) {
		perror("clone(CLONE_NEWPID|CLONE_VM|CLONE_SIGHAND)");
		return 2;
	}
	if (waitpid(init, &status, 0) == init)
		printf("waitpid(init):  status %d\n", WEXITSTATUS(status));
	else
		printf("waitpid(init):  %s\n", strerror(errno));
	sigaction(SIGCHLD, NULL, &after);
	printf("SIGCHLD before: %s\n", before.sa_handler == SIG_DFL ? "SIG_DFL" : "other");
	printf("SIGCHLD after:  %s\n", after.sa_handler == SIG_DFL ? "SIG_DFL" :
	       after.sa_handler == SIG_IGN ? "SIG_IGN" : "other");

	child = fork();
	if (child == 0)
		_exit(7);
	if (child < 0) {
		perror("fork");
		return 2;
	}
	if (waitpid(child, &status, 0) != child)
		printf("waitpid(child): %s\n", strerror(errno));
	else
		printf("waitpid(child): status %d\n", WEXITSTATUS(status));
	return after.sa_handler != before.sa_handler;
}
