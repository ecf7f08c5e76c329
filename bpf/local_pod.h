/* This file contains the delivery to a pod of this node: straight into its namespace, past the stack of the node and the
 * queue between the two ends of the pair. The programs at ingress of its eth0 run there. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "hop.h"
#include "packet.h"
#include "pods.h"
#include "verdict.h"

/* CONTINUE: the destination is no pod of this node. The pod takes packets larger than its MTU, as every receiver does. */
static __always_inline int to_local_pod(struct __sk_buff *skb, const struct packet *packet)
{
	struct pod *pod = find_pod(&packet->destination);
	if (!pod)
		return CONTINUE;
	if (pod->flags & POD_STACK)
		return to_stack(REASON_stack_pod);
	int verdict = check_hop(skb, packet);
	if (verdict != CONTINUE)
		return verdict;
	count_hop(skb, packet);
	set_macs(skb, pod->mac, pod->gateway);
	count(REASON_forwarded_to_pod);
	return bpf_redirect_peer(pod->ifindex, 0);
}
