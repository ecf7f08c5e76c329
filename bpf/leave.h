/* This file contains how a packet leaves a pod or, translated, the node: its way is found or remembered, and taken. */
#pragma once

#include <linux/bpf.h>

#include "encapsulation.h"
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
		count(REASON_forwarded_to_tunnel);
		return enter_tunnel(skb, packet, way);
	case WAY_OF_HANDOVER:
		count(REASON_handed_over);
		return enter_tunnel(skb, packet, way);
	default:
		return to_neighbour(way);
	}
}

/* Whether a packet neither opens nor ends anything, nor has options. */
static __always_inline bool is_in_the_middle(const struct packet *packet)
{
	return packet->l4 - packet->l3 == (packet->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) &&
	       !(packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST));
}

static __always_inline bool may_take(const struct way *way, struct __sk_buff *skb, const struct packet *packet)
{
	switch (way->kind) {
	case WAY_TO_POD:
		return true;
	case WAY_OF_TAKEOVER:
		return false;
	case WAY_OF_HANDOVER:
		return is_in_the_middle(packet) && wire_length(skb, packet) <= way->longest;
	default:
		return wire_length(skb, packet) <= way->longest;
	}
}

/* The way of a packet whose flow has come by a moment ago; NULL: it has to be found. */
static __always_inline struct way *known_way(struct __sk_buff *skb, const struct packet *packet, __be32 through)
{
	const struct ethhdr *ethernet = (void *)(long)skb->data;
	struct way *way = may_be_remembered(packet) ? place_of_way(packet) : NULL;
	if (!way || (void *)(ethernet + 1) > (void *)(long)skb->data_end ||
	    !is_way_of(way, packet, ethernet, skb->ifindex, through) || way->until <= now_nanoseconds())
		return NULL;
	return may_take(way, skb, packet) ? way : NULL;
}

/* CONTINUE: the way is found. As every receiver, the pod takes packets larger than its MTU. */
static __always_inline int find_way_to_pod(const struct pod *pod, struct way *way)
{
	if (pod->flags & POD_STACK)
		return to_stack(REASON_stack_pod);
	way->kind = WAY_TO_POD;
	way->device = pod->ifindex;
	way->untranslated = 0;
	__builtin_memcpy(way->pod.mac, pod->mac, sizeof(way->pod.mac));
	__builtin_memcpy(way->pod.gateway, pod->gateway, sizeof(way->pod.gateway));
	return CONTINUE;
}

/* CONTINUE: the way is found. */
static __always_inline int find_way(struct __sk_buff *skb, const struct packet *packet, struct way *way)
{
	const struct pod *pod = find_pod(&packet->destination);
	if (pod)
		return find_way_to_pod(pod, way);
	const struct node *node = this_node();
	const struct tunnel *tunnel = find_tunnel(&packet->destination);
	way->untranslated = tunnel && !(tunnel->flags & TUNNEL_OF_SERVICES) && stays_untranslated(packet);
	if (!tunnel || !tunnel->endpoint || !node || !node->vxlan)
		return find_way_to_uplink(skb, packet, way);
	if (wire_length(skb, packet) > node->overlay_mtu)
		return to_stack(REASON_stack_mtu);
	way_to_tunnel(node, tunnel->endpoint, way);
	find_way_of_tunnel(skb, packet, way);
	return CONTINUE;
}

/* A packet that has come to the node goes to a pod as `deliver` has it, and so may the others of its flow. */
static __always_inline int deliver_flow(struct __sk_buff *skb, const struct packet *packet, const struct pod *pod,
					__be32 through)
{
	struct way *way = place_of_way(packet);
	if (!way)
		return PASS;
	way->until = 0; /* whosever it was */
	int verdict = find_way_to_pod(pod, way);
	if (verdict != CONTINUE)
		return verdict;
	remember_way(way, skb, packet, through);
	return take_way(skb, packet, way);
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
		remember_way(way, skb, packet, 0);
	return take_way(skb, packet, way);
}
