/* This file contains the flows that the node's stack takes part in: a packet that the stack has delivered to a pod may have
 * been translated on its way (a host port, kube-proxy), and its answer has to be translated back. So whoever comes by the
 * stack is answered by the stack. Pods that nothing comes to that way pay nothing for it. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps/stack_flows.h"
#include "packet.h"
#include "pods.h"

/* At the host end's egress: the packet goes to the pod. */
static __always_inline void note_stack_flow(const struct packet *packet)
{
	struct stack_flow flow = {
		.pod = packet->destination,
		.peer = packet->source,
		.pod_port = packet->destination_port,
		.peer_port = packet->source_port,
		.protocol = packet->protocol,
	};
	struct pod *pod = find_pod(&packet->destination);
	if (!pod || !has_ports(packet->protocol))
		return;
	if (pod->flags & POD_ANSWERS_STACK && bpf_map_lookup_elem(&tb_stack_flows, &flow))
		return;
	__u8 noted = 1;
	bpf_map_update_elem(&tb_stack_flows, &flow, &noted, BPF_ANY);
	pod->flags |= POD_ANSWERS_STACK;
}

/* At its ingress: whether the packet answers one that came that way. An ICMP error may be about one. */
static __always_inline bool answers_stack(const struct packet *packet, const struct pod *sender)
{
	if (!(sender->flags & POD_ANSWERS_STACK))
		return false;
	if (is_icmp_error(packet) || packet->fragment == LATER_FRAGMENT)
		return true;
	struct stack_flow flow = {
		.pod = packet->source,
		.peer = packet->destination,
		.pod_port = packet->source_port,
		.peer_port = packet->destination_port,
		.protocol = packet->protocol,
	};
	return has_ports(packet->protocol) && bpf_map_lookup_elem(&tb_stack_flows, &flow);
}
