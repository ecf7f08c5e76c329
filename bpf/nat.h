/* This file contains the translations that the node makes at its uplink: how one is entered as a pair of halves, followed,
 * and removed. Unlike those of tb_flows they may change both addresses: a client outside is sent to a backend on another
 * node with this node's address, so that the answer comes back here. */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "config.h"
#include "connection.h"
#include "flows.h"
#include "kernel_sockets.h"
#include "maps/nat.h"
#include "marks.h"
#include "packet.h"
#include "subprogram.h"

/* Ports drawn at random to find one that no flow has: with three in four taken, 99 times in a hundred one does. */
#define NAT_PORT_TRIES 16

/* Ports that are looked at more closely: they may be of a finished flow, of a socket of the node, or taken by another CPU
 * meanwhile. The verifier goes through all of that for each of them. */
#define NAT_TAKE_TRIES 6

/* Seconds after which a finished flow's port may be given away, where the server does not hold on to it: so many that the
 * last segments have arrived, and so few that a range of 20,000 ports carries as many connections a second to one peer. */
#define NAT_PORT_REST_SECONDS 1

/* Another return of a stage: the packet is translated, and `packet` says what it is now. */
#define TRANSLATED (-4)

static __always_inline bool is_icmp(const struct packet *packet)
{
	return packet->protocol == (packet->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static __always_inline struct nat_key nat_key_of(const struct packet *packet)
{
	return (struct nat_key){
		.source = packet->source,
		.destination = packet->destination,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.protocol = packet->protocol,
	};
}

static __always_inline struct nat *find_nat(const struct nat_key *key)
{
	return bpf_map_lookup_elem(&tb_nat, key);
}

/* The key of the other half: of the answer to what the packet becomes. */
static __always_inline struct nat_key other_nat_half(const struct nat_key *key, const struct nat *nat)
{
	return (struct nat_key){
		.source = nat->destination,
		.destination = nat->source,
		.source_port = nat->destination_port,
		.destination_port = nat->source_port,
		.protocol = key->protocol,
	};
}

static __always_inline __s32 nat_idle_seconds(const struct nat *nat, const struct nat *other, __u32 now)
{
	__s32 idle = now - nat->seen;
	__s32 other_idle = other ? (__s32)(now - other->seen) : idle;
	return other_idle < idle ? other_idle : idle;
}

SUBPROGRAM bool nat_expired(const struct nat_key *key GIVEN, const struct nat *nat GIVEN, __u32 now)
{
	struct nat_key other_key = other_nat_half(key, nat);
	__s32 idle = nat_idle_seconds(nat, find_nat(&other_key), now);
	__s32 lasted = now - idle - nat->since;
	return idle >= (__s32)flow_timeout(key->protocol, nat->state, nat->flags, lasted);
}

/* Whether a finished translation may lose its port to another. */
SUBPROGRAM bool may_take_port(const struct nat_key *key GIVEN, const struct nat *nat GIVEN, __u32 now)
{
	struct nat_key other_key = other_nat_half(key, nat);
	__s32 idle = nat_idle_seconds(nat, find_nat(&other_key), now);
	bool finished = nat->state == FLOW_RESET || (nat->state == FLOW_CLOSING && !(nat->flags & FLOW_LINGERS));
	__s32 lasted = now - idle - nat->since;
	return (finished && idle >= NAT_PORT_REST_SECONDS) ||
	       idle >= (__s32)flow_timeout(key->protocol, nat->state, nat->flags, lasted);
}

SUBPROGRAM int delete_nat(const struct nat_key *key GIVEN, const struct nat *nat GIVEN)
{
	struct nat_key other = other_nat_half(key, nat);
	bpf_map_delete_elem(&tb_nat, &other);
	bpf_map_delete_elem(&tb_nat, key);
	return 0;
}

/* Called for the few packets that may change the state; both halves change together, as those of a flow do. */
SUBPROGRAM int change_nat_state(const struct nat_key *key GIVEN, struct nat *nat GIVEN, __u32 tcp_flags)
{
	struct nat_key other_key = other_nat_half(key, nat);
	struct nat *other = find_nat(&other_key);
	if (!other)
		other = nat;
	__u8 direction = nat->flags & NAT_REPLY ? FLOW_REPLY : FLOW_FORWARD;
	struct nat *forward = direction == FLOW_FORWARD ? nat : other;
	struct nat *reply = direction == FLOW_FORWARD ? other : nat;
	__u8 fin = fin_flag(direction, tcp_flags);
	if (fin) {
		add_flag(&reply->state, fin);
		add_flag(&forward->state, fin);
	}
	__u32 now = now_seconds();
	struct stage before = { .state = nat->state, .flags = forward->flags };
	struct stage after = next_stage(before, direction, tcp_flags, now - nat->since);
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

static __always_inline void follow_nat(const struct packet *packet, const struct nat_key *key, struct nat *nat)
{
	if (may_change(packet, nat->flags & NAT_REPLY ? FLOW_REPLY : FLOW_FORWARD, nat->state))
		change_nat_state(key, nat, packet->tcp_flags);
	__u32 now = now_seconds();
	if (nat->seen != now)
		nat->seen = now;
}

/* A translation about to be entered. */
struct new_nat {
	struct nat_key forward;
	struct nat_key reply; /* of the answers, turned round: what the packet becomes */
	__u32 service;
	__u32 backend;
	__u16 first_port; /* host order: of those that the client may get in place of its own */
	__u16 ports;      /* how many */
	__u8 flags;       /* NAT_DIRECT, or none */
	bool hides;       /* the source becomes the node's, with one of these ports */
};

/* HOW IT WAS ENTERED: */
#define NAT_ENTERED 0
#define NAT_TABLE_FULL 1
#define NAT_NO_PORT 2

/* Whether a socket of the node would take the answers for its own. */
SUBPROGRAM bool taken_by_node(struct __sk_buff *skb, const struct nat_key *reply GIVEN)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *socket;
	__u32 size = fill_tuple(&tuple, &reply->source, reply->source_port, &reply->destination, reply->destination_port);
	if (reply->protocol == IPPROTO_TCP)
		socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (reply->protocol == IPPROTO_UDP)
		socket = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		return false;
	if (!socket)
		return false;
	bpf_sk_release(socket);
	return true;
}

/* Another return of taking: the tuple is taken. */
#define NAT_TAKEN 3

/* Takes the tuple of the answers, unless somebody has it. */
SUBPROGRAM int take_nat_tuple(struct __sk_buff *skb, const struct new_nat *new GIVEN, const struct nat *half GIVEN)
{
	if (new->hides && taken_by_node(skb, &new->reply))
		return NAT_TAKEN;
	if (!bpf_map_update_elem(&tb_nat, &new->reply, half, BPF_NOEXIST))
		return NAT_ENTERED;
	struct nat *taken = find_nat(&new->reply);
	if (!taken) /* so it was not that the tuple is taken */
		return NAT_TABLE_FULL;
	bool ours = address_equal(&taken->destination, &new->forward.source) &&
		    address_equal(&taken->source, &new->forward.destination) &&
		    taken->destination_port == new->forward.source_port &&
		    taken->source_port == new->forward.destination_port;
	if (!ours && !may_take_port(&new->reply, taken, half->seen))
		return NAT_TAKEN;
	delete_nat(&new->reply, taken);
	return bpf_map_update_elem(&tb_nat, &new->reply, half, BPF_NOEXIST) ? NAT_TAKEN : NAT_ENTERED;
}

/* Draws a port that no flow has; if most have one, any: its flow may be finished. */
SUBPROGRAM int draw_port(struct new_nat *new GIVEN)
{
	for (int try = 0; try < NAT_PORT_TRIES; try++) {
		__u32 port = new->first_port + bpf_get_prandom_u32() % new->ports;
		new->reply.destination_port = bpf_htons(port);
		if (!find_nat(&new->reply))
			break;
	}
	return 0;
}

/* The same with the client's own port, or with others. SCTP has to keep its port: its checksum cannot be mended. */
static __always_inline int take_nat_reply(struct __sk_buff *skb, struct new_nat *new, const struct nat *half)
{
	bool sctp = new->forward.protocol == IPPROTO_SCTP;
	int taken = sctp || !new->hides ? take_nat_tuple(skb, new, half) : NAT_TAKEN;
	if (taken != NAT_TAKEN)
		return taken;
	if (sctp || !new->ports)
		return NAT_NO_PORT;
	for (int try = 0; try < NAT_TAKE_TRIES; try++) {
		draw_port(new);
		taken = take_nat_tuple(skb, new, half);
		if (taken != NAT_TAKEN)
			return taken;
	}
	return NAT_NO_PORT;
}

/* Enters both halves or none. The reply half is what makes a tuple taken, so it comes first. */
SUBPROGRAM int enter_nat(struct __sk_buff *skb, struct new_nat *new GIVEN)
{
	__u32 now = now_seconds();
	struct nat half = {
		.source = new->forward.destination,
		.destination = new->forward.source,
		.source_port = new->forward.destination_port,
		.destination_port = new->forward.source_port,
		.service = new->service,
		.backend = new->backend,
		.seen = now,
		.since = now,
		.flags = new->flags | NAT_REPLY,
	};
	mark_address(nat_marks(), &new->forward.destination, FLOW_FORWARD);
	mark_address(nat_marks(), &new->reply.destination, FLOW_FORWARD);
	int taken = take_nat_reply(skb, new, &half);
	if (taken != NAT_ENTERED)
		return taken;
	half.source = new->reply.destination;
	half.destination = new->reply.source;
	half.source_port = new->reply.destination_port;
	half.destination_port = new->reply.source_port;
	half.flags = new->flags;
	if (bpf_map_update_elem(&tb_nat, &new->forward, &half, BPF_ANY)) {
		bpf_map_delete_elem(&tb_nat, &new->reply);
		return NAT_TABLE_FULL;
	}
	return NAT_ENTERED;
}

/* Whether a translation's backend still serves it; one without a service needs none. */
static __always_inline bool nat_serves(const struct nat *nat)
{
	if (nat->backend == 0)
		return true;
	struct backend *backend = find_backend(nat->backend);
	return backend && backend->state != BACKEND_NONE && backend->service == nat->service &&
	       backend->port == nat->destination_port && address_equal(&backend->address, &nat->destination);
}

/* Whether the client's packet begins another flow with the tuple of one in the table. */
static __always_inline bool begins_nat_anew(const struct packet *packet, const struct nat_key *key, const struct nat *nat)
{
	if (nat->flags & NAT_REPLY)
		return false;
	if (packet->protocol != IPPROTO_TCP)
		return !nat_serves(nat);
	if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return false;
	return nat->state == FLOW_CLOSING || nat->state == FLOW_RESET || !nat_serves(nat) ||
	       nat_expired(key, nat, now_seconds());
}

/* The translation of a packet, unless it begins another flow. */
static __always_inline struct nat *known_nat(const struct packet *packet, const struct nat_key *key)
{
	struct nat *nat = find_nat(key);
	if (!nat || !begins_nat_anew(packet, key, nat))
		return nat;
	delete_nat(key, nat);
	return NULL;
}
