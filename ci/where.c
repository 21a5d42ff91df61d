/* Counts the instructions that a guest executes, by the address of their translation block. A plugin for QEMU; it declares
 * the little that it uses of the plugin interface, version 1, since packages of QEMU do not have its header. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct qemu_plugin_tb;
typedef void (*on_translation)(uint64_t id, struct qemu_plugin_tb *block);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, on_translation call);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation, void *counter, uint64_t step);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t id, void *data), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

#define SLOTS (1 << 22)
static struct { uint64_t address, count; } *slots;
static const char *file = "counts";

static void translated(uint64_t id, struct qemu_plugin_tb *block)
{
	uint64_t address = qemu_plugin_tb_vaddr(block);
	uint64_t at = (address * 0x9e3779b97f4a7c15u) >> 42;

	/* Translation is serialised by QEMU. */
	while (slots[at].address && slots[at].address != address)
		at = (at + 1) % SLOTS;
	slots[at].address = address;
	qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &slots[at].count, qemu_plugin_tb_n_insns(block));
}

static void ended(uint64_t id, void *data)
{
	FILE *out = fopen(file, "w");

	for (uint64_t at = 0; out && at < SLOTS; at++)
		if (slots[at].count)
			fprintf(out, "%" PRIx64 " %" PRIu64 "\n", slots[at].address, slots[at].count);
	if (out)
		fclose(out);
}

__attribute__((visibility("default")))
int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	if (argc > 0)
		file = argv[0] + 4; /* out= */
	slots = calloc(SLOTS, sizeof(*slots));
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return slots ? 0 : -1;
}
