/* This file contains the part of the backend's node in services for clients outside: what another node has handed over is
 * translated here, and answered from here past that node. It is never handed on, whatever this node would choose itself:
 * for a moment two nodes may know different backends. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "fragments.h"
#include "handover.h"
#include "leave.h"
#include "local_pod.h"
#include "node_services.h"
#include "packet.h"
#include "pods.h"
#include "services.h"
#include "subprogram.h"
#include "this_node.h"
#include "tunnel.h"
#include "verdict.h"
#include "ways.h"

/* The backend of this node that takes a new flow for lack of the ring's; 0: there is none. The same one for the same flow. */
static __always_inline __u32 choose_here(const struct endpoint *frontend, const struct client *client)
{
	for (int try = 0; try < CHOICE_TRIES; try++) {
		struct service *service = find_service(frontend);
		if (!service || service->count == 0)
			return 0;
		__u32 hash = hash_flow(frontend, client, !(service->flags & SERVICE_AFFINITY));
		struct slot slot = {
			.service = service->number,
			.generation = service->generation,
			.index = hash % service->count,
		};
		__u32 *number = bpf_map_lookup_elem(&tb_slots, &slot);
		if (number)
			return *number;
	}
	return 0;
}

/* CONTINUE: there is somebody here to serve the client. */
SUBPROGRAM int choose_handed_over(const struct packet *packet GIVEN, struct choice *choice GIVEN)
{
	struct endpoint frontend = {
		.address = packet->destination,
		.port = packet->destination_port,
		.protocol = packet->protocol,
		.scope = HANDED_OVER,
	};
	const struct node *node = this_node();
	struct service *service = has_ports(packet->protocol) ? find_service(&frontend) : NULL;
	if (!service || !node)
		return drop(REASON_unknown_tunnel);
	if (!is_open_to(service, &packet->source))
		return drop(REASON_outside_range);
	struct client client = { .address = packet->source, .seed = packet->source_port };
	frontend.scope = OUTSIDE;
	__u32 number = choose_backend(&frontend, &client);
	struct backend *backend = find_backend(number);
	if (!backend || is_elsewhere(backend, node)) {
		frontend.scope = HANDED_OVER;
		number = choose_here(&frontend, &client);
		backend = find_backend(number);
	}
	if (!backend || backend->state == BACKEND_NONE)
		return drop(REASON_handover_no_backend);
	choice->backend = number;
	choice->flags = NAT_DIRECT;
	return CONTINUE;
}

/* The node that hands over has put fragments in order, and they keep it on their way. */
static __always_inline bool knows_ports(struct packet *packet)
{
	struct fragment_key key = fragment_key_of(packet, FLOW_REPLY);
	if (packet->fragment == LATER_FRAGMENT) {
		struct fragment *first = find_fragment(&key);
		if (!first)
			return false;
		packet->source_port = first->source_port;
		packet->destination_port = first->destination_port;
		packet->protocol = first->protocol;
		return true;
	}
	struct fragment first = {
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.seen = now_seconds(),
		.protocol = packet->protocol,
	};
	bpf_map_update_elem(&tb_fragments, &key, &first, BPF_ANY);
	return true;
}

static __always_inline int become_ours(struct __sk_buff *skb, struct packet *packet)
{
	if (is_icmp_error(packet)) {
		int verdict = translate_error(skb, packet);
		return verdict == CONTINUE ? drop(REASON_icmp_without_flow) : verdict;
	}
	if (packet->fragment && !knows_ports(packet))
		return drop(REASON_handover_fragment);
	struct nat_key key = nat_key_of(packet);
	struct nat *nat = known_nat(packet, &key);
	if (!nat) {
		struct choice choice = {};
		int verdict = choose_handed_over(packet, &choice);
		if (verdict == CONTINUE)
			verdict = enter_outside(skb, packet, &choice);
		if (verdict != CONTINUE)
			return verdict;
		nat = find_nat(&key);
	}
	return nat ? translate(skb, packet, &key, nat) : drop(REASON_nat_table_full);
}

/* Whether the packet is to an address of services that nodes hand over. */
static __always_inline bool is_handed_over(const struct packet *packet)
{
	struct endpoint address = { .address = packet->destination, .scope = HANDED_OVER };
	return bpf_map_lookup_elem(&tb_services, &address);
}

/* That this node has handed over this flow. */
static __always_inline void remember_takeover(struct __sk_buff *skb, const struct packet *packet, __be32 sender)
{
	struct way *way = may_be_remembered(packet) ? place_of_way(packet) : NULL;
	if (!way)
		return;
	way->kind = WAY_OF_TAKEOVER;
	remember_way(way, skb, packet, sender);
}

static __always_inline int take_over(struct __sk_buff *skb, struct packet *packet, __be32 sender)
{
	const struct node *node = this_node();
	struct address address = address_of_ipv4(sender);
	/* From a node of the cluster: a node holds its own address. */
	if (!node || holder_of(&address) != sender)
		return drop(REASON_unknown_tunnel);
	remember_takeover(skb, packet, sender);
	int verdict = become_ours(skb, packet);
	if (verdict != TRANSLATED)
		return verdict;
	const struct pod *pod = find_pod(&packet->destination);
	if (pod)
		return deliver(skb, packet, pod);
	if (is_own_address(node, &packet->destination))
		return PASS;
	/* A pod of this node that has a device of its own: the network has it. */
	const struct tunnel *tunnel = find_tunnel(&packet->destination);
	return tunnel && tunnel->endpoint ? drop(REASON_handover_no_backend) : leave(skb, packet, false);
}
