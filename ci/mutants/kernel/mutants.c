// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Which mutant is switched on, where it is in effect, and which were reached.
 */
#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/errno.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mutants.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/syscalls.h>

/* MUTANTS is the number of the last mutant; the instrumenter defines it. */
#include "mutants-count.h"

static u32 active;
static DECLARE_BITMAP(reached, MUTANTS + 1);

static int __init mutant_setup(char *text)
{
	return kstrtou32(text, 0, &active);
}
early_param("mutant", mutant_setup);

static bool in_effect(enum mutant_scope scope)
{
	switch (scope) {
	case MUTANT_CALL:
		return in_task() && current->mutant_in_call;
	case MUTANT_TASK:
		return in_task() && current->mutant_marked;
	default:
		return true;
	}
}

bool mutant(unsigned int id, enum mutant_scope scope)
{
	if (!in_effect(scope))
		return false;
	if (!test_bit(id, reached))
		set_bit(id, reached);
	return READ_ONCE(active) == id;
}

bool mutant_condition(unsigned int id, enum mutant_scope scope, unsigned int which, bool value)
{
	bool forced_true = (which & MUTANT_TRUE) && mutant(id, scope);
	bool forced_false = (which & MUTANT_FALSE) && mutant(id + (which & MUTANT_TRUE), scope);

	return forced_true || (value && !forced_false);
}

int mutant_errno(unsigned int id, enum mutant_scope scope, int value)
{
	if (!mutant(id, scope))
		return value;
	return value == -EXDEV ? -EDOM : -EXDEV;
}

int mutant_step(unsigned int id, enum mutant_scope scope)
{
	return mutant(id, scope);
}

/* What the system call calls. A task that has called once keeps the mark, and hands it on to its children. */
long mutants_unshare(unsigned long flags)
{
	long result;

	current->mutant_marked = 1;
	current->mutant_in_call = 1;
	result = ksys_unshare(flags);
	current->mutant_in_call = 0;
	return result;
}

/* At the end of a guest, its console has what was reached. */
static int print_reached(struct notifier_block *block, unsigned long action, void *data)
{
	unsigned int id;

	for (id = 0; id <= MUTANTS; id += 256)
		pr_emerg("mutants: reached from %u %*pb\n", id,
			(int)min(256U, MUTANTS + 1 - id), reached + BIT_WORD(id));
	return NOTIFY_DONE;
}

static struct notifier_block at_reboot = { .notifier_call = print_reached };

static int __init mutants_init(void)
{
	struct dentry *directory = debugfs_create_dir("mutants", NULL);

	debugfs_create_u32("active", 0600, directory, &active);
	return register_reboot_notifier(&at_reboot);
}
late_initcall(mutants_init);
