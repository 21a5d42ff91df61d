/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Faults that are built in and switched on one at a time: the parameter mutant=N, or a write to mutants/active in debugfs.
 * Calls of these functions are inserted by `mutants instrument`; without a mutant switched on, they change nothing.
 */
#ifndef _LINUX_MUTANTS_H
#define _LINUX_MUTANTS_H

#include <linux/types.h>

/* Where a mutant is in effect. */
enum mutant_scope {
	MUTANT_CALL,	/* in the task that is inside unshare(2) */
	MUTANT_TASK,	/* in tasks that have called unshare(2), and in those they started afterwards */
	MUTANT_ANY,	/* everywhere */
};

/* Which of the two mutants of a condition exist: forced true has the lower number. */
#define MUTANT_TRUE	1
#define MUTANT_FALSE	2

bool mutant(unsigned int id, enum mutant_scope scope);
bool mutant_condition(unsigned int id, enum mutant_scope scope, unsigned int which, bool value);
int mutant_errno(unsigned int id, enum mutant_scope scope, int value);
int mutant_step(unsigned int id, enum mutant_scope scope);
long mutants_unshare(unsigned long flags);

#define mutant_flag(id, scope, flag) (mutant(id, scope) ? 0 : (flag))

#endif
