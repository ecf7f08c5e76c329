/* This file contains the delivery to a pod of this node: straight into its namespace, past the stack of the node and the
 * queue between the two ends of the pair. The programs at ingress of its eth0 run there. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "hop.h"
#include "packet.h"
#include "pods.h"
#include "verdict.h"

static __always_inline int enter_pod(struct __sk_buff *skb, __u32 device, const __u8 *mac, const __u8 *gateway)
{
	set_macs(skb, mac, gateway);
	count(REASON_forwarded_to_pod);
	return bpf_redirect_peer(device, 0);
}

/* The pod takes packets larger than its MTU, as every receiver does. */
static __always_inline int deliver(struct __sk_buff *skb, const struct packet *packet, const struct pod *pod)
{
	if (pod->flags & POD_STACK)
		return to_stack(REASON_stack_pod);
	int verdict = check_hop(skb, packet);
	if (verdict != CONTINUE)
		return verdict;
	count_hop(skb, packet);
	return enter_pod(skb, pod->ifindex, pod->mac, pod->gateway);
}
