# Variables that make is given to build a kernel with coverage.config: the objects that gcov counts in, by file name,
# whatever their directory (scripts/Makefile.lib). They hold the functions of ci/mutants/functions.toml; a tree that has
# no such object takes no notice.
GCOV_PROFILE_commoncap.o=y
GCOV_PROFILE_cred.o=y
GCOV_PROFILE_file.o=y
GCOV_PROFILE_fork.o=y
GCOV_PROFILE_fs_struct.o=y
GCOV_PROFILE_ipc_sysctl.o=y
GCOV_PROFILE_mq_sysctl.o=y
GCOV_PROFILE_mqueue.o=y
GCOV_PROFILE_msg.o=y
GCOV_PROFILE_namespace.o=y
GCOV_PROFILE_namespace_vdso.o=y
GCOV_PROFILE_net_namespace.o=y
GCOV_PROFILE_nscommon.o=y
GCOV_PROFILE_nsproxy.o=y
GCOV_PROFILE_nstree.o=y
GCOV_PROFILE_pid.o=y
GCOV_PROFILE_pid_namespace.o=y
GCOV_PROFILE_pnode.o=y
GCOV_PROFILE_sem.o=y
GCOV_PROFILE_shm.o=y
GCOV_PROFILE_ucount.o=y
GCOV_PROFILE_user_namespace.o=y
GCOV_PROFILE_utsname.o=y
GCOV_PROFILE_utsname_sysctl.o=y
# The kernel's own flags, but that no function is inlined before it is counted in, unless it is declared so: each keeps
# its lines and branches, and has them once. Counters that two processors raise at once lose nothing.
CFLAGS_GCOV=-fprofile-arcs -ftest-coverage -fno-tree-loop-im -fno-inline-small-functions -fprofile-update=prefer-atomic
