// Pieces of the program that repeats a history: c.rs puts together what one uses. A line "//:" names a piece, and what
// it uses. The rest of a piece is copied; a comment like this one is not.

//: shared
#include <stdatomic.h>

/* What all tasks have in common, whatever they unshare. */
static struct shared {
	atomic_int turn;		/* the step to take */
	atomic_int done;		/* the last one that was taken */
	int result, expected;		/* of it: 0, or -errno */
	atomic_int pid[TASKS], tid[TASKS];	/* as the main process sees them */
	int child[TASKS];		/* the process ID, as its parent sees it */
	char seen[512];			/* by a task, of itself */
} *shared;

static int proc;			/* /proc of the main process */
static char base[64] = "/tmp/unshare-XXXXXX";
static char dir_a[80], dir_b[80], dir_m[80];

//: errno
static const char *result_name(int result)
{
	static char text[32];

	switch (-result) {
	case 0: return "0";
	case EPERM: return "EPERM";
	case ENOENT: return "ENOENT";
	case EBADF: return "EBADF";
	case EAGAIN: return "EAGAIN";
	case ENOMEM: return "ENOMEM";
	case EACCES: return "EACCES";
	case EEXIST: return "EEXIST";
	case EINVAL: return "EINVAL";
	case ENOSPC: return "ENOSPC";
	case ERANGE: return "ERANGE";
	case EUSERS: return "EUSERS";
	}
	snprintf(text, sizeof(text), "errno %d", -result);
	return text;
}

//: semaphore
#include <sys/ipc.h>
#include <sys/sem.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

static int semaphore = -1;

//: finish shared
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

static int main_pid;

/* Ends all tasks and the program: 0 if the kernel conforms, 1 if it differs, 2 if that was not found out. */
static _Noreturn void finish(int code)
{
	if (getpid() != main_pid)
		_exit(code);
	for (int task = 0; shared && task < TASKS; task++)
		if (shared->pid[task] > 0)
			kill(shared->pid[task], SIGKILL);
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		;
	REMOVE_SEMAPHORE
	rmdir(base);
	if (main_pid == 1) {
		printf("exit status %d\n", code);
		reboot(RB_POWER_OFF);
	}
	exit(code);
}

static _Noreturn void fail(const char *what)
{
	dprintf(1, "cannot set up: %s: %s\n", what, strerror(errno));
	finish(2);
}

//: steps shared errno
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* A step, if it is this task's: when it is its turn, makes the call and says what came of it. */
#define STEP(number, task, call, result)				\
	if (me == (task) && born < (number)) {				\
		wait_for(number);					\
		done(number, task, #call, call, result);		\
	}

static void wait_for(int number)
{
	while (shared->turn != number)
		usleep(200);
}

static void done(int number, int task, const char *call, int result, int expected)
{
	shared->result = result < 0 ? -errno : 0;
	shared->expected = expected;
	dprintf(1, "step %d: task %d: %s = %s\n", number, task, call, result_name(shared->result));
	shared->done = number;
}

//: exit steps
#include <sys/syscall.h>

/* The step by which a task ends. */
#define EXIT(number, task)						\
	if (me == (task) && born < (number)) {				\
		wait_for(number);					\
		done(number, task, "exit(0)", 0, 0);			\
		syscall(SYS_exit, 0);					\
	}

//: look steps
/* Not a step of the history: a task looks at itself. */
#define LOOK(number, task, at)						\
	if (me == (task)) {						\
		wait_for(number);					\
		at;							\
		shared->done = number;					\
	}

//: status look
#include <fcntl.h>
#include <string.h>

/* Fields of a task's own /proc/thread-self/status; the list has a blank before and behind each name. */
static void status(const char *names)
{
	char text[8192], name[64], *line, *rest, *end = shared->seen;
	int fd = openat(proc, "thread-self/status", O_RDONLY | O_CLOEXEC);
	ssize_t size = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[size < 0 ? 0 : size] = 0;
	*end = 0;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *value = strchr(line, ':');

		if (!value)
			continue;
		snprintf(name, sizeof(name), " %.*s ", (int)(value - line), line);
		for (value++; *value == '\t' || *value == ' '; value++)
			;
		if (!strstr(names, name) || end - shared->seen + strlen(value) + 2 > sizeof(shared->seen))
			continue;
		if (end != shared->seen)
			*end++ = ' ';
		for (; *value; value++)
			*end++ = *value == '\t' ? ' ' : *value;
		*end = 0;
	}
}

//: attributes look
#include <stdio.h>
#include <sys/prctl.h>

static void attributes(void)
{
	int signal = 0, reaper = 0;

	prctl(PR_GET_PDEATHSIG, &signal);
	prctl(PR_GET_CHILD_SUBREAPER, &reaper);
	snprintf(shared->seen, sizeof(shared->seen), "dumpable %d, death signal %d, subreaper %d",
		 prctl(PR_GET_DUMPABLE), signal, reaper);
}

//: descriptors look
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void descriptors(void)
{
	static const int fds[] = { 20, 21, 22, 23, 24, 25, 70, 300 };
	char *end = shared->seen;

	strcpy(end, "none");
	for (unsigned int i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		int flags = fcntl(fds[i], F_GETFD);

		if (flags >= 0)
			end += sprintf(end, "%s%d%s", end == shared->seen ? "" : ", ", fds[i],
				       flags & FD_CLOEXEC ? " (closing on exec)" : "");
	}
}

//: no_descriptors
#include <unistd.h>

static void no_descriptors(void)
{
	for (int fd = 20; fd < 26; fd++)
		close(fd);
	close(70);
	close(300);
}

//: write_file shared
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Writes to a file below /proc. */
static int write_file(const char *name, const char *text)
{
	int fd = openat(proc, name, O_WRONLY | O_CLOEXEC);
	int result, error;

	if (fd < 0)
		return -1;
	result = write(fd, text, strlen(text));
	error = errno;
	close(fd);
	errno = error;
	return result < 0 ? -1 : 0;
}

//: map_self write_file
/* Maps user and group 0 to this one of the parent. */
static int map_self(unsigned int outer)
{
	char line[32];

	snprintf(line, sizeof(line), "0 %u 1", outer);
	return write_file("self/setgroups", "deny") ?:
	       write_file("self/uid_map", line) ?:
	       write_file("self/gid_map", line);
}

//: map_of write_file
#include <stdio.h>

/* Maps users and groups of another task's user namespace. */
static int map_of(int task, const char *text)
{
	char users[32], groups[32];

	snprintf(users, sizeof(users), "%d/uid_map", shared->pid[task]);
	snprintf(groups, sizeof(groups), "%d/gid_map", shared->pid[task]);
	return write_file(users, text) ?: write_file(groups, text);
}

//: queue_signals
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Queues two signals to the calling thread, and takes them. */
static int queue_signals(void)
{
	siginfo_t info = { .si_signo = SIGRTMIN + 6, .si_code = SI_QUEUE };
	sigset_t set, before;
	int result = 0, error = 0;

	sigemptyset(&set);
	sigaddset(&set, info.si_signo);
	sigprocmask(SIG_BLOCK, &set, &before);
	for (int i = 0; i < 2 && !result; i++) {
		result = syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), info.si_signo, &info);
		error = errno;
	}
	while (sigtimedwait(&set, NULL, &(struct timespec){ 0 }) > 0)
		;
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return result;
}

//: securebits
#include <linux/securebits.h>

//: object
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

enum object { MESSAGES, MEMORY, QUEUE };

#define OBJECT_KEY 0x756e7368
#define OBJECT_NAME "unshare-conformance-walk"

//: make_object object
#include <mqueue.h>

static int make_object(enum object object)
{
	struct mq_attr attributes = { .mq_maxmsg = 1, .mq_msgsize = 1 };
	int fd;

	if (object == MESSAGES)
		return msgget(OBJECT_KEY, IPC_CREAT | IPC_EXCL | 0600);
	if (object == MEMORY)
		return shmget(OBJECT_KEY, 4096, IPC_CREAT | IPC_EXCL | 0600);
	fd = syscall(SYS_mq_open, OBJECT_NAME, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, &attributes);
	return fd < 0 ? -1 : close(fd);
}

//: remove_object object
static int remove_object(enum object object)
{
	int id;

	if (object == MESSAGES)
		return (id = msgget(OBJECT_KEY, 0)) < 0 ? -1 : msgctl(id, IPC_RMID, NULL);
	if (object == MEMORY)
		return (id = shmget(OBJECT_KEY, 0, 0)) < 0 ? -1 : shmctl(id, IPC_RMID, NULL);
	return syscall(SYS_mq_unlink, OBJECT_NAME);
}

//: objects object look
#include <errno.h>
#include <stdio.h>

/* Which of them the task's IPC namespace has; another user's, too. */
static void objects(void)
{
	int messages = msgget(OBJECT_KEY, 0) >= 0 || errno == EACCES;
	int memory = shmget(OBJECT_KEY, 0, 0) >= 0 || errno == EACCES;
	int fd = syscall(SYS_mq_open, OBJECT_NAME, O_RDONLY | O_CLOEXEC, 0, NULL);
	int queue = fd >= 0 || errno == EACCES;

	if (fd >= 0)
		close(fd);
	sprintf(shared->seen, "%d %d %d", messages, memory, queue);
}

//: settings look
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

/* Settings of the task's IPC namespace, by their files. */
static void settings(const char *names[])
{
	char *end = shared->seen;

	for (; *names; names++) {
		char text[16] = "";
		int fd = openat(proc, *names, O_RDONLY | O_CLOEXEC);

		if (read(fd, text, sizeof(text) - 1) < 0)
			*text = 0;
		close(fd);
		end += sprintf(end, "%s%d", end == shared->seen ? "" : " ", atoi(text));
	}
}

//: options shared
#include <stdio.h>
#include <string.h>

/* The options of the world's mount, as a task sees it. */
static void options(char text[128], int task)
{
	char path[64], line[1024], point[256], found[128], *option, *rest, *end = text;
	FILE *file;

	*end = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/mountinfo", shared->pid[task], shared->tid[task]);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*s %*s %*s %*s %255s %127s", point, found) != 2 || strcmp(point, base))
			continue;
		for (option = strtok_r(found, ",", &rest); option; option = strtok_r(NULL, ",", &rest))
			if (strcmp(option, "relatime"))
				end += sprintf(end, "%s%s", end == text ? "" : ",", option);
	}
	if (file)
		fclose(file);
}

//: clock_beside look
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* By how many seconds the clock of the task that has just looked differs from the main process's. */
static void clock_beside(char text[32], clockid_t clock)
{
	long long seconds = (atoll(shared->seen) - now(clock)) / 500000000;

	snprintf(text, 32, "%lld", (seconds + (seconds > 0) - (seconds < 0)) / 2);
}

//: give_up
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Gives up these capabilities, and all inheritable ones. */
static int give_up(unsigned long long these)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return -1;
	for (int half = 0; half < 2; half++) {
		data[half].effective &= ~(these >> (32 * half));
		data[half].permitted &= ~(these >> (32 * half));
		data[half].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data);
}

//: become_nobody give_up
#include <sys/prctl.h>

/* Raw calls: those of the C library concern all threads that it knows. */
static int become_nobody(void)
{
	return syscall(SYS_setgroups, 0, NULL) ?:
	       syscall(SYS_setresgid, 65534, 65534, 65534) ?:
	       syscall(SYS_setresuid, 65534, 65534, 65534) ?:
	       give_up(~0ULL) ?:
	       prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

//: reap shared
#include <sys/wait.h>

static int reap(int task)
{
	if (waitpid(shared->child[task], NULL, __WALL) < 0)
		return -1;
	shared->pid[task] = 0;
	return 0;
}

//: lock
#include <fcntl.h>
#include <sys/mman.h>

static int lock_fd = -1;

//: is_locked lock finish
static int is_locked(void)
{
	struct flock lock = { .l_type = F_WRLCK };

	if (fcntl(lock_fd, F_GETLK, &lock))
		fail("fcntl(F_GETLK)");
	return lock.l_type != F_UNLCK;
}

//: descriptors_by_socket shared finish
#include <sched.h>
#include <sys/socket.h>

static int sockets[2];

union rights {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static void send_and_close(int fd)
{
	union rights rights = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct iovec byte = { "n", 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof(rights) };

	memcpy(CMSG_DATA(&rights.header), &fd, sizeof(fd));
	if (sendmsg(sockets[1], &message, 0) < 0)
		fail("sendmsg(SCM_RIGHTS)");
	close(fd);
}

static int receive(void)
{
	union rights rights;
	char text;
	struct iovec byte = { &text, 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof(rights) };
	int fd = -1;

	if (recvmsg(sockets[0], &message, MSG_CMSG_CLOEXEC) > 0 && message.msg_controllen)
		memcpy(&fd, CMSG_DATA(&rights.header), sizeof(fd));
	return fd;
}

static int setns_and_close(int fd, int flags)
{
	int result = setns(fd, flags), error = errno;

	close(fd);
	errno = error;
	return result;
}

//: hand_over descriptors_by_socket
#include <fcntl.h>

/* Hands a task the file of another one's namespace, which the main process may open. */
static void hand_over(int task, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/ns/%s", shared->pid[task], shared->tid[task], name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(path);
	send_and_close(fd);
}

//: hand_over_process descriptors_by_socket
#include <sys/syscall.h>

/* Hands a task a descriptor of another one's process. */
static void hand_over_process(int task)
{
	int fd = syscall(SYS_pidfd_open, (int)shared->pid[task], 0);

	if (fd < 0)
		fail("pidfd_open");
	send_and_close(fd);
}

//: tasks shared finish
#include <sched.h>
#include <stdio.h>

static void play(int me, int born);

static struct life {
	int me, born;
} lives[STEPS + 1];
static _Alignas(16) char stacks[STEPS + 1][65536];

static int start(void *arg)
{
	struct life *life = arg;
	char self[64] = "";
	int pid, tid;

	if (!life->born)
		set_up();
	if (readlinkat(proc, "thread-self", self, sizeof(self) - 1) < 0 || sscanf(self, "%d/task/%d", &pid, &tid) != 2)
		fail("readlink(/proc/thread-self)");
	shared->pid[life->me] = pid;
	shared->tid[life->me] = tid;
	play(life->me, life->born);
	for (;;)
		pause();
}

/* Makes a task that takes the steps after this one, and waits until it is there. Each has a stack of its own. */
static int make(int task, int step, int flags)
{
	int pid;

	lives[step] = (struct life){ task, step };
	shared->tid[task] = 0;
	pid = clone(start, stacks[step] + sizeof(stacks[step]), flags, &lives[step]);
	shared->child[task] = pid;
	while (pid > 0 && !shared->tid[task]) {
		if (!step && waitpid(pid, NULL, WNOHANG) == pid)
			finish(2);
		usleep(200);
	}
	return pid;
}

//: play_to steps finish
/* Whether the task whose turn it is has answered, within a minute. */
static int answers(int number)
{
	shared->turn = number;
	for (int i = 0; i < 60000 && shared->done != number; i++)
		usleep(1000);
	return shared->done == number;
}

/* Has the steps up to this one taken. Only the last one may have another result than expected. */
static void play_to(int last)
{
	static int number;

	while (number < last) {
		number++;
		if (!answers(number)) {
			printf("step %d: expected a result, got none: it does not return, or its task has ended\n", number);
			finish(number == STEPS ? 1 : 2);
		}
		if (shared->result != shared->expected) {
			printf("step %d: expected %s, ", number, result_name(shared->expected));
			printf("got %s\n", result_name(shared->result));
			finish(number == STEPS ? 1 : 2);
		}
	}
}

//: wait_end shared
#include <string.h>

/* Waits until a thread is a zombie, or gone. */
static void wait_end(int task)
{
	char path[64], text[512], *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", shared->tid[task]);
	while ((file = fopen(path, "r"))) {
		state = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL;
		fclose(file);
		if (!state || strchr("ZX", state[2]))
			break;
		usleep(1000);
	}
	if (shared->tid[task] != shared->pid[task])
		shared->pid[task] = 0;
}

//: differs
static int differs;

//: same differs
static void expect_same(const char *what, unsigned long long expected, unsigned long long got)
{
	if (expected == got)
		return;
	printf("%s: expected %llu, got %llu\n", what, expected, got);
	differs = 1;
}

//: new differs
static void expect_new(const char *what, const unsigned long long *old, int count, unsigned long long got)
{
	int is_new = got != 0;

	for (int i = 0; i < count; i++)
		is_new &= old[i] != got;
	if (is_new)
		return;
	printf("%s: expected a new one, got %llu\n", what, got);
	differs = 1;
}

//: text differs
#include <string.h>

static void expect_text(const char *what, const char *expected, const char *got)
{
	if (!strcmp(expected, got))
		return;
	printf("%s: expected %s, got %s\n", what, expected, got);
	differs = 1;
}

//: ns shared
#include <stdio.h>
#include <sys/stat.h>

/* The inode of a task's namespace; 0 if its link leads nowhere. */
static unsigned long long ns(int task, const char *name)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/ns/%s", shared->pid[task], shared->tid[task], name);
	return stat(path, &st) ? 0 : st.st_ino;
}

//: related shared
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* The inode of what NS_GET_USERNS or NS_GET_PARENT gives for a task's namespace; 0 if nothing. */
static unsigned long long related(int task, const char *name, unsigned long request)
{
	struct stat st = { 0 };
	char path[64];
	int fd, other;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/ns/%s", shared->pid[task], shared->tid[task], name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	other = ioctl(fd, request);
	if (other < 0 || fstat(other, &st))
		st.st_ino = 0;
	close(other);
	close(fd);
	return st.st_ino;
}

//: place shared
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Where "cwd" or "root" of a task is, or what lies below it. */
static void place(char text[64], int task, const char *link, const char *below)
{
	struct stat st;
	char path[160];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s%s", shared->pid[task], shared->tid[task], link, below);
	if (stat(path, &st))
		snprintf(text, 64, "unreachable");
	else
		snprintf(text, 64, "%u:%u inode %llu", major(st.st_dev), minor(st.st_dev), (unsigned long long)st.st_ino);
}

//: mount_of shared
#include <fcntl.h>
#include <stdio.h>

/* The ID of the mount that "cwd" or "root" of a task is on; 0 if it cannot be opened. */
static unsigned long long mount_of(int task, const char *link)
{
	unsigned long long id = 0;
	char path[64], line[128];
	FILE *file;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", shared->pid[task], shared->tid[task], link);
	fd = open(path, O_PATH | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "mnt_id: %llu", &id);
	if (file)
		fclose(file);
	close(fd);
	return id;
}

//: propagation shared
#include <stdio.h>
#include <string.h>

/* A line of mountinfo: peer group, the one it receives from. */
struct propagation {
	int is_there, shared, master, unbindable;
};

/* That of the mount at a directory, as a task sees it. */
static struct propagation propagation(int task, const char *point)
{
	struct propagation found = { 0 };
	char path[64], line[1024], *field, *rest;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/mountinfo", shared->pid[task], shared->tid[task]);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		int number = 0, ours = 0;

		for (field = strtok_r(line, " ", &rest); field && strcmp(field, "-"); field = strtok_r(NULL, " ", &rest)) {
			if (++number == 5 && !strcmp(field, point)) {
				ours = 1;
				found = (struct propagation){ .is_there = 1 };
			}
			if (ours && number > 6) {
				sscanf(field, "shared:%d", &found.shared);
				sscanf(field, "master:%d", &found.master);
				found.unbindable |= !strcmp(field, "unbindable");
			}
		}
	}
	if (file)
		fclose(file);
	return found;
}

//: is_shared shared
#include <linux/kcmp.h>
#include <sys/syscall.h>

static const char *is_shared(int type, int a, int b)
{
	int order = syscall(SYS_kcmp, (int)shared->tid[a], (int)shared->tid[b], type, 0, 0);

	return order < 0 ? "no answer" : order ? "apart" : "shared";
}

//: offset shared
#include <stdio.h>
#include <string.h>

/* The offsets that the clocks of a task's children will have. */
static void offset(char text[64], int task)
{
	long long seconds, monotonic = 0, boottime = 0;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/timens_offsets", shared->pid[task]);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "monotonic %lld", &seconds) == 1)
			monotonic = seconds;
		else if (sscanf(line, "boottime %lld", &seconds) == 1)
			boottime = seconds;
	if (file)
		fclose(file);
	snprintf(text, 64, "monotonic %lld, boottime %lld", monotonic, boottime);
}

//: maps shared
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Reads a file below /proc, its fields with one blank between. */
static void fields(char text[128], const char *path)
{
	char word[32], *end = text;
	FILE *file = fopen(path, "r");

	*end = 0;
	while (file && fscanf(file, "%31s", word) == 1 && end - text + strlen(word) + 2 < 128)
		end += sprintf(end, "%s%s", end == text ? "" : " ", word);
	if (file)
		fclose(file);
}

#define MAPS 512

static void maps_told(char text[MAPS], const char *uids, const char *gids, const char *setgroups, unsigned int owner)
{
	snprintf(text, MAPS, "uid_map %s, gid_map %s, setgroups %s, owner %u", uids, gids, setgroups, owner);
}

/* What a task's user namespace shows of itself. */
static void maps(char text[MAPS], int task)
{
	char path[64], uids[128], gids[128], setgroups[128];
	unsigned int owner = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", shared->pid[task]);
	fields(uids, path);
	snprintf(path, sizeof(path), "/proc/%d/gid_map", shared->pid[task]);
	fields(gids, path);
	snprintf(path, sizeof(path), "/proc/%d/setgroups", shared->pid[task]);
	fields(setgroups, path);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", shared->pid[task]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ioctl(fd, NS_GET_OWNER_UID, &owner);
	close(fd);
	maps_told(text, uids, gids, setgroups, owner);
}

/* NULL: as in the main process. */
static void expected_maps(char text[MAPS], const char *map, const char *setgroups, unsigned int owner)
{
	char own[128];

	fields(own, "/proc/self/setgroups");
	maps_told(text, map, map, setgroups ? setgroups : own, owner);
}

//: every_capability
#include <stdio.h>

/* All capabilities that this kernel has. */
static unsigned long long every_capability(void)
{
	FILE *file = fopen("/proc/sys/kernel/cap_last_cap", "r");
	int last = 40;

	if (file && fscanf(file, "%d", &last) != 1)
		last = 40;
	if (file)
		fclose(file);
	return (2ULL << last) - 1;
}

// The rest of these functions depends on the history.

//: set_up
/* The first task, in a mount namespace of its own. */
static void set_up(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fail("mount(MS_PRIVATE)");
	if (mount("world", base, "tmpfs", 0, NULL) || mount(NULL, base, NULL, MS_PRIVATE, NULL))
		fail("mount(tmpfs)");
	if (mkdir(dir_a, 0755) || mkdir(dir_b, 0755) || mkdir(dir_m, 0755) || chdir("/"))
		fail("mkdir");

//: main
int main(void)
{
	main_pid = getpid();
	if (main_pid == 1) {
		mkdir("/proc", 0755);
		mkdir("/tmp", 0755);
		mount("proc", "/proc", "proc", 0, NULL);
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	umask(022);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0 || !mkdtemp(base))
		fail("/proc or /tmp");
	snprintf(dir_a, sizeof(dir_a), "%s/a", base);
	snprintf(dir_b, sizeof(dir_b), "%s/b", base);
	snprintf(dir_m, sizeof(dir_m), "%s/m", base);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
