/* This file contains the collector of finished translated flows: an iterator over tb_nat, run when the agent reads from it.
 * It removes flows in the kernel, both halves together, and writes what it found as lines of a name and a number. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "clock.h"
#include "iterator.h"
#include "maps.h"
#include "snat.h"

/* Seconds a half may be without its other: entering the two takes far less. */
#define LONELY_SECONDS 2

/* Flows, not halves. Only one run at a time: the agent's. */
static struct {
	__u64 run; /* the reading that this was found in */
	__u64 flows;
	__u64 expired;
	__u64 lonely; /* halves */
} found;

/* Whether `other` is the other half, and not that of a later flow with the same tuple. */
static __always_inline bool is_pair(const struct flow_key *key, const struct flow_key *other_key, const struct nat *other)
{
	struct flow_key back = nat_other_half(other_key, other);
	return back.source_port == key->source_port && back.destination_port == key->destination_port &&
	       address_equal(&back.source, &key->source) && address_equal(&back.destination, &key->destination);
}

static __always_inline void collect(const struct flow_key *key, const struct nat *nat)
{
	__u32 now = exact_seconds();
	struct flow_key other_key = nat_other_half(key, nat);
	struct nat *other = find_nat(&other_key);
	if (!other || !is_pair(key, &other_key, other)) {
		if ((__s32)(now - nat->since) < LONELY_SECONDS)
			return;
		found.lonely++;
		bpf_map_delete_elem(&tb_nat, key);
		return;
	}
	if (key->direction == FLOW_REPLY)
		return; /* the forward half speaks for both */
	if (!nat_is_over(key->protocol, nat, nat_idle(nat, other, now), now)) {
		found.flows++;
		return;
	}
	found.expired++;
	delete_nat(key, nat);
}

SEC("iter/bpf_map_elem")
int tb_nat_gc(struct bpf_iter__bpf_map_elem *context)
{
	struct seq_file *seq = context->meta->seq;
	__u64 run = context->meta->session_id;
	if (found.run != run) {
		__builtin_memset(&found, 0, sizeof(found));
		found.run = run;
	}
	struct flow_key *element_key = context->key;
	struct nat *element = context->value;
	/* The last call has no element. */
	if (!element_key || !element) {
		BPF_SEQ_PRINTF(seq, "flows %llu\nexpired %llu\nlonely %llu\n", found.flows, found.expired, found.lonely);
		return 0;
	}
	struct flow_key key = *element_key;
	struct nat nat = *element;
	collect(&key, &nat);
	return 0;
}

char _license[] SEC("license") = "GPL";
