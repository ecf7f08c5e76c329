/* This file contains the flow table: how a flow is entered as a pair of halves, followed, and removed. */
#pragma once

#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "config.h"
#include "connection.h"
#include "kernel_sockets.h"
#include "maps/clients.h"
#include "maps/flows.h"
#include "marks.h"
#include "packet.h"
#include "services.h"
#include "subprogram.h"
#include "verdict.h"

/* Source ports tried before a flow is given up. They are drawn at random, so that this many fail only where
 * nearly all are taken. */
#define SOURCE_PORT_TRIES 16
/* Source ports given: above what servers listen on. */
#define SOURCE_PORT_FIRST 16384
#define SOURCE_PORT_COUNT 49152

#define EEXIST 17

static __always_inline struct flow_key flow_key_of(const struct packet *packet, __u8 direction)
{
	return (struct flow_key){
		.source = packet->source,
		.destination = packet->destination,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.protocol = packet->protocol,
		.direction = direction,
	};
}

static __always_inline struct flow *find_flow(const struct flow_key *key)
{
	return bpf_map_lookup_elem(&tb_flows, key);
}

/* The key of the other half. */
static __always_inline struct flow_key other_half(const struct flow_key *key, const struct flow *flow)
{
	struct flow_key other = { .protocol = key->protocol };
	if (key->direction == FLOW_FORWARD) {
		other.direction = FLOW_REPLY;
		other.source = flow->address;
		other.source_port = flow->port;
		other.destination = key->source;
		other.destination_port = flow->client_port;
	} else {
		other.direction = FLOW_FORWARD;
		other.source = key->destination;
		other.source_port = flow->client_port;
		other.destination = flow->address;
		other.destination_port = flow->port;
	}
	return other;
}

/* Seconds since the last packet in either direction; `other` may be missing. The clocks of two CPUs may be a
 * tick apart, hence signed. */
static __always_inline __s32 idle_seconds(const struct flow *flow, const struct flow *other, __u32 now)
{
	__s32 idle = now - flow->seen;
	__s32 other_idle = other ? (__s32)(now - other->seen) : idle;
	return other_idle < idle ? other_idle : idle;
}

SUBPROGRAM bool flow_expired(const struct flow_key *key GIVEN, const struct flow *flow GIVEN, __u32 now)
{
	struct flow_key other_key = other_half(key, flow);
	struct flow *other = find_flow(&other_key);
	__s32 idle = idle_seconds(flow, other, now);
	__s32 lasted = now - idle - flow->since;
	return idle >= (__s32)flow_timeout(key->protocol, flow->state, flow->flags, lasted);
}

SUBPROGRAM int delete_flow(const struct flow_key *key GIVEN, const struct flow *flow GIVEN)
{
	struct flow_key other = other_half(key, flow);
	bpf_map_delete_elem(&tb_flows, &other);
	bpf_map_delete_elem(&tb_flows, key);
	return 0;
}

/* Called for the few packets that may change the state. Both halves change together: the forward half last, which is the one
 * asked. So of two FINs at once one finds the other there. */
SUBPROGRAM int change_state(struct flow_key *key GIVEN, struct flow *flow GIVEN, __u32 tcp_flags)
{
	struct flow_key other_key = other_half(key, flow);
	struct flow *other = find_flow(&other_key);
	if (!other)
		other = flow; /* it is alone, and about to be collected */
	struct flow *forward = key->direction == FLOW_FORWARD ? flow : other;
	struct flow *reply = key->direction == FLOW_FORWARD ? other : flow;
	__u8 fin = fin_flag(key->direction, tcp_flags);
	if (fin) {
		add_flag(&reply->state, fin);
		add_flag(&forward->state, fin);
	}
	__u32 now = now_seconds();
	struct stage before = { .state = flow->state, .flags = forward->flags };
	struct stage after = next_stage(before, key->direction, tcp_flags, now - flow->since);
	if (after.flags & FLOW_LINGERS) {
		add_flag(&reply->state, FLOW_LINGERS);
		add_flag(&forward->state, FLOW_LINGERS);
	}
	if (after.state == before.state)
		return 0;
	reply->state = forward->state = after.state;
	reply->since = forward->since = now;
	return 0;
}

static __always_inline void follow(const struct packet *packet, struct flow_key *key, struct flow *flow)
{
	if (may_change(packet, key->direction, flow->state))
		change_state(key, flow, packet->tcp_flags);
}

/* A flow about to be entered: its forward half. */
struct new_flow {
	struct flow_key key;
	struct flow flow;
};

/* HOW A FLOW WAS ENTERED: */
#define FLOW_ENTERED 0
#define FLOW_ENTERED_ON_OTHER_PORT 1
#define FLOW_TABLE_FULL 2
#define FLOW_NO_PORT 3
#define FLOW_SHARE_FULL 4
#define FLOW_TRY_AGAIN 5 /* of a single try only */

/* Whether some flow has the reply tuple that a new one would like to have. */
SUBPROGRAM bool is_taken(const struct new_flow *new GIVEN)
{
	struct flow_key reply_key = other_half(&new->key, &new->flow);
	return find_flow(&reply_key);
}

/* Whether a socket of the pod has the tuple straight to the backend, which may be in no table, so that no other flow may
 * have it. Under the port that the packet comes from, a flow straight to the backend is the socket's own. */
static __always_inline bool taken_by_socket(struct __sk_buff *skb, const struct new_flow *new,
					    const struct flow_key *reply_key)
{
	bool changed = reply_key->destination_port != new->key.source_port;
	if (new->flow.flags & FLOW_DIRECT && !changed)
		return false;
	if (new->key.protocol == IPPROTO_TCP)
		return has_connection(skb, reply_key);
	if (new->key.protocol != IPPROTO_UDP)
		return false;
	return changed ? has_udp_socket(skb, reply_key) : is_peer_of_socket(skb, &new->flow.address, new->flow.port);
}

/* Whether a reply half is that of the new flow's key: of an earlier flow from there to the same frontend. */
static __always_inline bool is_reply_of(const struct flow *reply, const struct flow_key *key)
{
	return address_equal(&reply->address, &key->destination) && reply->port == key->destination_port &&
	       reply->client_port == key->source_port;
}

/* Enters the reply half. FLOW_NO_PORT: another flow has the tuple. */
static __always_inline int enter_reply_half(const struct new_flow *new, const struct flow_key *reply_key,
					    const struct flow *reply)
{
	/* Before Linux 6.4 the upper half of what a map's own function returns is not its sign. */
	int failed = bpf_map_update_elem(&tb_flows, reply_key, reply, BPF_NOEXIST);
	if (!failed)
		return FLOW_ENTERED;
	if (failed != -EEXIST)
		return FLOW_TABLE_FULL;
	struct flow *taken = find_flow(reply_key);
	if (taken && is_reply_of(taken, &new->key)) {
		/* A half without its other, or that of another packet of this flow, which another CPU sees to. */
		*taken = *reply;
		return FLOW_ENTERED;
	}
	if (taken && !flow_expired(reply_key, taken, reply->seen))
		return FLOW_NO_PORT;
	if (taken)
		delete_flow(reply_key, taken); /* not yet collected */
	return bpf_map_update_elem(&tb_flows, reply_key, reply, BPF_NOEXIST) ? FLOW_NO_PORT : FLOW_ENTERED;
}

/* Takes the reply tuple, or says why it cannot. Where another might be free, that is in `reply_key` then. */
SUBPROGRAM int try_reply_tuple(struct __sk_buff *skb, const struct new_flow *new GIVEN, struct flow_key *reply_key GIVEN,
			       const struct flow *reply GIVEN)
{
	int how = taken_by_socket(skb, new, reply_key) ? FLOW_NO_PORT : enter_reply_half(new, reply_key, reply);
	if (how == FLOW_ENTERED && reply_key->destination_port != new->key.source_port)
		return FLOW_ENTERED_ON_OTHER_PORT;
	if (how != FLOW_NO_PORT || new->key.protocol == IPPROTO_SCTP)
		return how;
	__u32 port = SOURCE_PORT_FIRST + bpf_get_prandom_u32() % SOURCE_PORT_COUNT;
	reply_key->destination_port = bpf_htons(port);
	return FLOW_TRY_AGAIN;
}

/* Takes the reply tuple, or another one by changing the source port: two flows of one client, to two frontends
 * of a backend or to a frontend and straight to the backend, may have the same tuple once translated, and the
 * backend would take them for one connection. The reply half is what makes a tuple taken, so it comes first.
 * Each try is a function: in a loop of several ways to its end the compiler has one of them run on into its beginning, which
 * verifiers before Linux 6.7 refuse as a loop without end. */
static __always_inline int take_reply_tuple(struct __sk_buff *skb, const struct new_flow *new,
					    struct flow_key *reply_key, struct flow *reply)
{
	for (int try = 0; try < SOURCE_PORT_TRIES; try++) {
		int taken = try_reply_tuple(skb, new, reply_key, reply);
		if (taken != FLOW_TRY_AGAIN)
			return taken;
	}
	return FLOW_NO_PORT;
}

/* Whether a client has so many flows that the rest of the table is for the others. */
static __always_inline bool has_its_share(const struct address *client)
{
	struct client_flows *known = bpf_map_lookup_elem(&tb_clients, client);
	return known && known->full;
}

static __always_inline struct flow reply_half_of(const struct new_flow *new)
{
	struct flow reply = new->flow;
	reply.seen = new->flow.since;
	reply.address = new->key.destination;
	reply.port = new->key.destination_port;
	reply.client_port = new->key.source_port;
	return reply;
}

static __always_inline void mark_flow(const struct new_flow *new)
{
	struct address_marks *marks = flow_marks();
	mark_address(marks, &new->key.destination, FLOW_FORWARD);
	mark_address(marks, &new->flow.address, FLOW_REPLY);
}

/* Enters both halves or none; `new` then says with which port. */
SUBPROGRAM int enter_flow(struct __sk_buff *skb, struct new_flow *new GIVEN)
{
	if (has_its_share(&new->key.source))
		return FLOW_SHARE_FULL;
	mark_flow(new);
	struct flow_key reply_key = other_half(&new->key, &new->flow);
	struct flow reply = reply_half_of(new);
	int taken = take_reply_tuple(skb, new, &reply_key, &reply);
	if (taken != FLOW_ENTERED && taken != FLOW_ENTERED_ON_OTHER_PORT)
		return taken;
	new->flow.client_port = reply_key.destination_port;
	if (bpf_map_update_elem(&tb_flows, &new->key, &new->flow, BPF_ANY)) {
		bpf_map_delete_elem(&tb_flows, &reply_key);
		new->flow.client_port = new->key.source_port;
		return FLOW_TABLE_FULL;
	}
	return taken;
}

/* Enters a flow over `old`, a finished one of the same key, where both halves are what they were: nobody else has had the
 * tuple since, so neither the table nor the sockets have to be asked. False: it is another backend, or another port. */
SUBPROGRAM bool renew_flow(const struct new_flow *new GIVEN, struct flow *old GIVEN)
{
	if (old->port != new->flow.port || old->client_port != new->flow.client_port ||
	    !address_equal(&old->address, &new->flow.address))
		return false;
	struct flow_key reply_key = other_half(&new->key, &new->flow);
	struct flow *reply = find_flow(&reply_key);
	if (!reply || !is_reply_of(reply, &new->key))
		return false;
	struct flow half = reply_half_of(new);
	*reply = half;
	/* The next hop, and when it was found, stay what they are. */
	old->since = new->flow.since;
	old->service = new->flow.service;
	old->backend = new->flow.backend;
	old->state = new->flow.state;
	old->flags = new->flow.flags;
	return true;
}

/* Whether a flow's backend still serves it. Numbers are used again, hence the address. */
static __always_inline struct backend *backend_of(const struct flow *flow)
{
	struct backend *backend = find_backend(flow->backend);
	if (!backend || backend->state == BACKEND_NONE || backend->service != flow->service ||
	    backend->port != flow->port || !address_equal(&backend->address, &flow->address))
		return NULL;
	return backend;
}
