/* This file contains the collector of finished flows: an iterator over tb_flows, run when the agent reads from it. It
 * removes flows in the kernel, both halves together, and writes what it found as lines of a name and a number. The flows
 * of each client it counts in tb_clients. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "clock.h"
#include "flows.h"
#include "iterator.h"
#include "maps/clients.h"
#include "maps/flows.h"

/* Seconds a half may be without its other: entering the two takes far less. */
#define LONELY_SECONDS 2

/* Flows, not halves. Only one run at a time: the agent's. */
static struct {
	__u64 run; /* the reading that this was found in */
	__u64 new;
	__u64 open;
	__u64 closing;
	__u64 reset;
	__u64 direct; /* also counted by state */
	__u64 expired;
	__u64 lonely; /* halves */
} found;

/* Set when the last run left the table more than half full. Finished flows whose server lingers are then removed as
 * early as others: a new connection that has to wait a second is better than one that finds no room. */
static bool pressed;

static __always_inline void count_state(const struct flow *flow)
{
	if (flow->flags & FLOW_DIRECT)
		found.direct++;
	if (flow->state == FLOW_NEW)
		found.new++;
	else if (flow->state == FLOW_OPEN)
		found.open++;
	else if (flow->state == FLOW_CLOSING)
		found.closing++;
	else
		found.reset++;
}

static __always_inline void count_client(const struct address *client)
{
	struct client_flows *known = bpf_map_lookup_elem(&tb_clients, client);
	struct client_flows first = { .flows = 1 };
	if (known)
		known->flows++;
	else
		bpf_map_update_elem(&tb_clients, client, &first, BPF_NOEXIST);
}

/* Whether `other` is the other half, and not that of a later flow with the same tuple. */
static __always_inline bool is_pair(const struct flow_key *key, const struct flow *flow, const struct flow_key *other_key,
				    const struct flow *other)
{
	struct flow_key back = other_half(other_key, other);
	return back.source_port == key->source_port && back.destination_port == key->destination_port &&
	       address_equal(&back.source, &key->source) && address_equal(&back.destination, &key->destination);
}

static __always_inline void collect(const struct flow_key *key, const struct flow *flow)
{
	__u32 now = exact_seconds();
	struct flow_key other_key = other_half(key, flow);
	struct flow *other = find_flow(&other_key);
	if (!other || !is_pair(key, flow, &other_key, other)) {
		/* A forward half counts as seen long ago until its first packet, so its begin is what tells its age. */
		if ((__s32)(now - flow->since) < LONELY_SECONDS)
			return;
		found.lonely++;
		bpf_map_delete_elem(&tb_flows, key);
		return;
	}
	if (key->direction == FLOW_REPLY)
		return; /* the forward half speaks for both */
	__u8 flags = pressed ? flow->flags & ~FLOW_LINGERS : flow->flags;
	__s32 idle = idle_seconds(flow, other, now);
	__s32 lasted = now - idle - flow->since;
	if (idle < (__s32)flow_timeout(key->protocol, flow->state, flags, lasted)) {
		count_state(flow);
		count_client(&key->source);
		return;
	}
	found.expired++;
	delete_flow(key, flow);
}

SEC("iter/bpf_map_elem")
int tb_flow_gc(struct bpf_iter__bpf_map_elem *context)
{
	struct seq_file *seq = context->meta->seq;
	__u64 run = context->meta->session_id;
	if (found.run != run) {
		__builtin_memset(&found, 0, sizeof(found));
		found.run = run;
	}
	struct flow_key *element_key = context->key;
	struct flow *element = context->value;
	struct address_marks *marks = flow_marks();
	/* The last call has no element. */
	if (!element_key || !element) {
		__u64 halves = 2 * (found.new + found.open + found.closing + found.reset);
		complete_run(marks);
		pressed = halves > context->map->max_entries / 2;
		BPF_SEQ_PRINTF(seq, "new %llu\nopen %llu\nclosing %llu\nreset %llu\n", found.new, found.open,
			       found.closing, found.reset);
		BPF_SEQ_PRINTF(seq, "direct %llu\nexpired %llu\nlonely %llu\n", found.direct, found.expired,
			       found.lonely);
		return 0;
	}
	struct flow_key key = *element_key;
	struct flow flow = *element;
	mark_address(marks, key.direction == FLOW_FORWARD ? &key.destination : &key.source, key.direction);
	collect(&key, &flow);
	return 0;
}

char _license[] SEC("license") = "GPL";
