/* This file contains the collector of finished translations: an iterator over tb_nat, run when the agent reads from it. It
 * removes both halves together, and writes how many there are as lines of a name and a number. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "clock.h"
#include "iterator.h"
#include "maps/nat.h"
#include "nat.h"

/* Seconds a half may be without its other: entering the two takes far less. */
#define LONELY_SECONDS 2

/* Only one run at a time: the agent's. */
static struct {
	__u64 run; /* the reading that this was found in */
	__u64 hidden;   /* pods behind the node */
	__u64 outside;  /* clients outside, of services */
	__u64 expired;
} found;

static __always_inline bool is_other_half(const struct nat_key *key, const struct nat *other, const struct nat_key *other_key)
{
	struct nat_key back = other_nat_half(other_key, other);
	return back.source_port == key->source_port && back.destination_port == key->destination_port &&
	       address_equal(&back.source, &key->source) && address_equal(&back.destination, &key->destination);
}

static __always_inline void collect(const struct nat_key *key, const struct nat *nat)
{
	__u32 now = exact_seconds();
	struct nat_key other_key = other_nat_half(key, nat);
	struct nat *other = find_nat(&other_key);
	if (!other || !is_other_half(key, other, &other_key)) {
		if ((__s32)(now - nat->since) >= LONELY_SECONDS)
			bpf_map_delete_elem(&tb_nat, key);
		return;
	}
	if (nat->flags & NAT_REPLY)
		return; /* the client's half speaks for both */
	__s32 idle = nat_idle_seconds(nat, other, now);
	__s32 lasted = now - idle - nat->since;
	if (idle >= (__s32)flow_timeout(key->protocol, nat->state, nat->flags, lasted)) {
		found.expired++;
		delete_nat(key, nat);
	} else if (nat->backend) {
		found.outside++;
	} else {
		found.hidden++;
	}
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
	struct nat_key *element_key = context->key;
	struct nat *element = context->value;
	struct address_marks *marks = nat_marks();
	/* The last call has no element. */
	if (!element_key || !element) {
		complete_run(marks);
		BPF_SEQ_PRINTF(seq, "hidden %llu\noutside %llu\nexpired %llu\n", found.hidden, found.outside,
			       found.expired);
		return 0;
	}
	struct nat_key key = *element_key;
	struct nat nat = *element;
	mark_address(marks, &key.destination, FLOW_FORWARD);
	collect(&key, &nat);
	return 0;
}

char _license[] SEC("license") = "GPL";
