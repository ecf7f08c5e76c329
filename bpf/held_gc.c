/* This file contains the collector of fragments whose first one never came: an iterator over tb_held. It writes how many
 * still wait and how many it removed, as lines of a name and a number. */
#include "clock.h"
#include "config.h"
#include "iterator.h"
#include "maps/fragments.h"

/* Only one run at a time: the agent's. */
static struct {
	__u64 run; /* the reading that this was found in */
	__u64 waiting;
	__u64 expired;
} found;

SEC("iter/bpf_map_elem")
int tb_held_gc(struct bpf_iter__bpf_map_elem *context)
{
	struct seq_file *seq = context->meta->seq;
	__u64 run = context->meta->session_id;
	if (found.run != run) {
		__builtin_memset(&found, 0, sizeof(found));
		found.run = run;
	}
	struct held_key *element_key = context->key;
	struct held *element = context->value;
	/* The last call has no element. */
	if (!element_key || !element) {
		BPF_SEQ_PRINTF(seq, "waiting %llu\nexpired %llu\n", found.waiting, found.expired);
		return 0;
	}
	if (exact_seconds() - element->seen < tb_config.fragment_seconds) {
		found.waiting++;
		return 0;
	}
	struct held_key key = *element_key;
	bpf_map_delete_elem(&tb_held, &key);
	found.expired++;
	return 0;
}

char _license[] SEC("license") = "GPL";
