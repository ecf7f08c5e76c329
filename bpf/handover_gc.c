/* This file contains the collector of flows that were handed over: an iterator over tb_handovers, run when the agent reads from
 * it. It writes how many there are as lines of a name and a number. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "clock.h"
#include "connection.h"
#include "iterator.h"
#include "maps/handovers.h"

/* Only one run at a time: the agent's. */
static struct {
	__u64 run; /* the reading that this was found in */
	__u64 open;
	__u64 expired;
} found;

/* Of a connection only the client's side is seen: what it has closed lasts for as long as the server may linger. */
static __always_inline bool is_over(const struct nat_key *key, const struct handover *flow, __u32 now)
{
	__u32 limit = flow_timeout(key->protocol, flow->state, FLOW_LINGERS, flow->seen - flow->since);
	return (__s32)(now - flow->seen) >= (__s32)limit;
}

SEC("iter/bpf_map_elem")
int tb_handover_gc(struct bpf_iter__bpf_map_elem *context)
{
	struct seq_file *seq = context->meta->seq;
	__u64 run = context->meta->session_id;
	if (found.run != run) {
		__builtin_memset(&found, 0, sizeof(found));
		found.run = run;
	}
	struct nat_key *key = context->key;
	struct handover *flow = context->value;
	/* The last call has no element. */
	if (!key || !flow) {
		BPF_SEQ_PRINTF(seq, "open %llu\nexpired %llu\n", found.open, found.expired);
		return 0;
	}
	struct nat_key copy = *key;
	struct handover known = *flow;
	if (is_over(&copy, &known, exact_seconds())) {
		found.expired++;
		bpf_map_delete_elem(&tb_handovers, &copy);
	} else {
		found.open++;
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
