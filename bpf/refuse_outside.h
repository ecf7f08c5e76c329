/* This file contains refusals of clients outside: the answers that pods get, sent back by the way that the packet has come,
 * and only so many. Sources may be forged, and the node is nobody's reflector. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "config.h"
#include "leave.h"
#include "packet.h"
#include "refuse.h"
#include "subprogram.h"
#include "this_node.h"
#include "verdict.h"

/* What has been sent in a second. */
struct refusals {
	__u32 second; /* of CLOCK_MONOTONIC */
	__u32 sent;
};

/* By client; of IPv6 by its /64, any address of which it may have. LRU: what is pushed out may be told once more, and all
 * together are bounded. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct address);
	__type(value, struct refusals);
} tb_refused SEC(".maps");

/* To all clients. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct refusals);
} tb_refusals SEC(".maps");

static __always_inline bool has_room(struct refusals *refusals, __u32 limit)
{
	__u32 now = now_seconds();
	if (refusals->second != now) {
		refusals->second = now;
		refusals->sent = 0;
	}
	return refusals->sent < limit;
}

/* Whether the client is told, which is noted. */
SUBPROGRAM bool may_be_told(const struct packet *packet GIVEN)
{
	__u32 zero = 0;
	struct refusals *all = bpf_map_lookup_elem(&tb_refusals, &zero);
	if (!all || !has_room(all, tb_config.refusals_of_cpu))
		return false;
	struct address client = packet->source;
	if (packet->ipv6)
		client.words[2] = client.words[3] = 0;
	struct refusals *own = bpf_map_lookup_elem(&tb_refused, &client);
	if (!own) {
		struct refusals none = {};
		bpf_map_update_elem(&tb_refused, &client, &none, BPF_NOEXIST);
		own = bpf_map_lookup_elem(&tb_refused, &client);
	}
	if (!own || !has_room(own, tb_config.refusals_to_client))
		return false;
	own->sent++;
	all->sent++;
	return true;
}

/* Neither a group nor nobody: 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3, ::/96, ff00::/8 (RFC 1122 section 3.2.2, RFC 4443 section
 * 2.4). */
static __always_inline bool is_one_host(const struct address *address)
{
	if (address_is_ipv4(address)) {
		__u8 first = ((const __u8 *)address)[12];
		return first != 0 && first != 127 && first < 224;
	}
	return (address->words[0] | address->words[1] | address->words[2]) && *(const __u8 *)address != 0xff;
}

/* What has come out of a tunnel goes the way that the answer's addresses say. */
SUBPROGRAM int send_by_tunnel(struct __sk_buff *skb, const struct packet *refused GIVEN)
{
	struct packet answer = *refused;
	answer.source = refused->destination;
	answer.destination = refused->source;
	return leave(skb, &answer, false);
}

/* Elsewhere the client's router is whoever has handed the packet over. */
static __always_inline int send_to_client(struct __sk_buff *skb, const struct packet *refused, __u32 reason)
{
	const struct node *node = this_node();
	if (!node || skb->ifindex != node->vxlan)
		return send_back(skb, 0, reason);
	count(reason);
	return send_by_tunnel(skb, refused);
}

/* At ingress of the uplink and of tbvxlan. */
SUBPROGRAM int refuse_outside(struct __sk_buff *skb, const struct packet *packet GIVEN, __u32 reason)
{
	if (!is_answerable(packet) || !is_one_host(&packet->source))
		return drop(reason);
	if (!may_be_told(packet))
		return drop(REASON_outside_unanswered);
	int verdict = become_refusal(skb, packet, reason);
	return verdict == CONTINUE ? send_to_client(skb, packet, reason) : verdict;
}
