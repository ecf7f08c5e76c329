/* This file contains how a packet leaves a pod or, translated, the node: its way is found or remembered, and taken. */
#pragma once

#include <linux/bpf.h>

#include "hop.h"
#include "local_pod.h"
#include "packet.h"
#include "pods.h"
#include "this_node.h"
#include "tunnel.h"
#include "untranslated.h"
#include "uplink.h"
#include "verdict.h"
#include "ways.h"

static __always_inline int take_way(struct __sk_buff *skb, const struct packet *packet, struct way *way)
{
	int verdict = check_hop(skb, packet);
	if (verdict != CONTINUE)
		return verdict;
	count_hop(skb, packet);
	mark_untranslated(skb, way->untranslated);
	switch (way->kind) {
	case WAY_TO_POD:
		return enter_pod(skb, way->device, way->pod.mac, way->pod.gateway);
	case WAY_TO_TUNNEL:
		return enter_tunnel(skb, way);
	default:
		return to_neighbour(way);
	}
}

/* The way of a packet whose flow has come by a moment ago; NULL: it has to be found. */
static __always_inline struct way *known_way(struct __sk_buff *skb, const struct packet *packet)
{
	struct way *way = may_be_remembered(packet) ? place_of_way(packet) : NULL;
	if (!way || !is_way_of(way, skb, packet) || wire_length(skb, packet) > way->longest)
		return NULL;
	return way->until > now_nanoseconds() ? way : NULL;
}

/* CONTINUE: the way is found. */
static __always_inline int find_way(struct __sk_buff *skb, const struct packet *packet, struct way *way)
{
	const struct pod *pod = find_pod(&packet->destination);
	way->untranslated = 0;
	if (pod) {
		if (pod->flags & POD_STACK)
			return to_stack(REASON_stack_pod);
		way->kind = WAY_TO_POD;
		way->device = pod->ifindex;
		way->longest = -1; /* as every receiver, the pod takes packets larger than its MTU */
		__builtin_memcpy(way->pod.mac, pod->mac, sizeof(way->pod.mac));
		__builtin_memcpy(way->pod.gateway, pod->gateway, sizeof(way->pod.gateway));
		return CONTINUE;
	}
	const struct node *node = this_node();
	const struct tunnel *tunnel = find_tunnel(&packet->destination);
	way->untranslated = tunnel && !(tunnel->flags & TUNNEL_OF_SERVICES) && stays_untranslated(packet);
	if (!tunnel || !tunnel->endpoint || !node || !node->vxlan)
		return find_way_to_uplink(skb, packet, way);
	if (wire_length(skb, packet) > node->overlay_mtu)
		return to_stack(REASON_stack_mtu);
	way_to_tunnel(node, tunnel, way);
	return CONTINUE;
}

/* Sends the packet on by the way that is found for it. `remembers`: the others of its flow, as they come by this device, may
 * follow without being looked at more than known_way does. */
static __always_inline int leave(struct __sk_buff *skb, const struct packet *packet, bool remembers)
{
	struct way *way = place_of_way(packet);
	if (!way)
		return PASS;
	way->until = 0; /* whosever it was */
	int verdict = find_way(skb, packet, way);
	if (verdict != CONTINUE)
		return verdict;
	if (remembers && may_be_remembered(packet))
		remember_way(way, skb, packet);
	return take_way(skb, packet, way);
}
