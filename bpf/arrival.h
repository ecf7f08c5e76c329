/* This file contains what happens to a packet that has come to the node: it is translated if it has to be, and goes to a pod
 * of this node, or on to the node that it is for now. */
#pragma once

#include <linux/bpf.h>

#include "leave.h"
#include "local_pod.h"
#include "masquerade.h"
#include "node_services.h"
#include "origin.h"
#include "packet.h"
#include "pods.h"
#include "refuse_outside.h"
#include "subprogram.h"
#include "this_node.h"
#include "verdict.h"

/* What is translated may be for another node. */
SUBPROGRAM int go_on(struct __sk_buff *skb, const struct packet *packet GIVEN)
{
	return leave(skb, packet, false);
}

/* A packet that is to none of the node's services, nor an answer to what was translated. Its origin does not matter where it
 * ends here. */
static __always_inline int to_this_node(struct __sk_buff *skb, const struct packet *packet, const struct node *node,
					const struct pod *pod, __be32 through)
{
	if (!through && has_wrong_origin(packet, node))
		return is_nobodys_service(packet) ? REFUSED(REASON_outside_no_service) : drop(REASON_wrong_origin);
	if (!pod)
		return !is_own_address(node, &packet->destination) && is_nobodys_service(packet)
			       ? REFUSED(REASON_outside_no_service)
			       : CONTINUE;
	/* Others from outside may have to be noted with each packet. */
	if ((through || packet->protocol == IPPROTO_TCP) && may_be_remembered(packet))
		return deliver_flow(skb, packet, pod, through);
	note_direct(skb, packet);
	return deliver(skb, packet, pod);
}

/* What a translated packet is for now: a pod of this node, the node itself, or another node. */
static __always_inline int to_translated(struct __sk_buff *skb, const struct packet *packet, const struct node *node)
{
	const struct pod *pod = find_pod(&packet->destination);
	if (pod)
		return deliver(skb, packet, pod);
	return is_own_address(node, &packet->destination) ? CONTINUE : go_on(skb, packet);
}

/* Most packets are for a pod, and its address is nobody else's. `through`: the node at the other end of the tunnel that the packet
 * has come out of; 0: it has come as it is. */
static __always_inline int arrive(struct __sk_buff *skb, struct packet *packet, __be32 through)
{
	const struct node *node = this_node();
	const struct pod *pod = find_pod(&packet->destination);
	if (!node)
		return PASS;
	__be32 holder = 0;
	int verdict = pod ? CONTINUE : from_outside(skb, packet, through ? NULL : &holder);
	if (holder)
		return hand_over(skb, packet, holder);
	if (verdict == CONTINUE)
		verdict = to_this_node(skb, packet, node, pod, through);
	else if (verdict == TRANSLATED)
		verdict = to_translated(skb, packet, node);
	if (is_refused(verdict))
		return refuse_outside(skb, packet, REFUSED(0) - verdict);
	return verdict == CONTINUE ? PASS : verdict;
}
