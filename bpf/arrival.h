/* This file contains what happens to a packet that has come to the node: it is translated if it has to be, and goes to a pod
 * of this node, or on to the node that it is for now. */
#pragma once

#include <linux/bpf.h>

#include "local_pod.h"
#include "masquerade.h"
#include "node_services.h"
#include "packet.h"
#include "refuse_outside.h"
#include "subprogram.h"
#include "this_node.h"
#include "tunnel.h"
#include "uplink.h"
#include "verdict.h"

/* The way off the node. */
static __always_inline int leave(struct __sk_buff *skb, const struct packet *packet)
{
	int verdict = to_tunnel(skb, packet);
	return verdict == CONTINUE ? to_uplink(skb, packet) : verdict;
}

/* What is translated may be for another node. */
SUBPROGRAM int go_on(struct __sk_buff *skb, const struct packet *packet)
{
	return leave(skb, packet);
}

static __always_inline int arrive(struct __sk_buff *skb, struct packet *packet)
{
	const struct node *node = this_node();
	int came = from_outside(skb, packet);
	if (is_refused(came))
		return refuse_outside(skb, packet, REFUSED(0) - came);
	if (came != CONTINUE && came != TRANSLATED)
		return came;
	if (came == CONTINUE)
		note_direct(skb, packet);
	int verdict = to_local_pod(skb, packet);
	if (verdict == CONTINUE && came == TRANSLATED && node && !is_own_address(node, &packet->destination))
		verdict = go_on(skb, packet);
	return verdict == CONTINUE ? PASS : verdict;
}
