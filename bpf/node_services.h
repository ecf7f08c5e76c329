/* This file contains services for clients outside the cluster: node ports, and the addresses that nodes announce. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "fragments.h"
#include "handover.h"
#include "maps/ranges.h"
#include "masquerade.h"
#include "nat.h"
#include "nat_packet.h"
#include "packet.h"
#include "pods.h"
#include "services.h"
#include "this_node.h"
#include "verdict.h"

/* Whether a service is open to a client. */
static __always_inline bool is_open_to(const struct service *service, const struct address *client)
{
	if (!(service->flags & SERVICE_RANGES))
		return true;
	struct range_key key = { .length = 8 * (sizeof(key.service) + sizeof(*client)), .service = service->number, .address = *client };
	return bpf_map_lookup_elem(&tb_ranges, &key);
}

/* A backend on another node has to answer by way of this one: it is asked with the node's address. One of this node is
 * not, and sees the client. */
static __always_inline bool is_elsewhere(const struct backend *backend, const struct node *node)
{
	return !find_pod(&backend->address) && !is_own_address(node, &backend->address);
}

/* Enters the translation to a backend. CONTINUE: it is in the table. */
SUBPROGRAM int enter_outside(struct __sk_buff *skb, const struct packet *packet GIVEN,
			     const struct choice *choice GIVEN)
{
	const struct node *node = this_node();
	struct backend *backend = find_backend(choice->backend);
	if (!node || !backend)
		return drop(REASON_outside_no_backend);
	struct new_nat new = {
		.forward = nat_key_of(packet),
		.service = backend->service,
		.backend = choice->backend,
		.hides = is_elsewhere(backend, node),
		.first_port = node->first_port,
		.ports = node->ports,
		.flags = choice->flags,
	};
	new.reply.source = backend->address;
	new.reply.source_port = backend->port;
	new.reply.destination = packet->source;
	new.reply.destination_port = packet->source_port;
	new.reply.protocol = packet->protocol;
	if (packet->protocol == IPPROTO_SCTP && backend->port != packet->destination_port)
		return drop(REASON_sctp_port);
	if (new.hides && !own_address(node, packet->ipv6, &new.reply.destination))
		return drop(REASON_no_node_address);
	int how = enter_nat(skb, &new);
	if (how != NAT_ENTERED)
		return drop(how == NAT_TABLE_FULL ? REASON_nat_table_full : REASON_nat_no_port);
	count(REASON_outside_service);
	return CONTINUE;
}

/* A client outside opens a flow. CONTINUE: there is somebody to serve it, or no such service. Who is outside of the source
 * ranges is not told that there is anything, as by kube-proxy. */
SUBPROGRAM int choose_outside(const struct packet *packet GIVEN, __u32 address_flags, struct choice *choice GIVEN)
{
	struct endpoint frontend = {
		.address = packet->destination,
		.port = packet->destination_port,
		.protocol = packet->protocol,
		.scope = OUTSIDE,
	};
	const struct node *node = this_node();
	struct service *service = has_ports(packet->protocol) ? find_service(&frontend) : NULL;
	if (!service || !node)
		return address_flags & SERVICE_SHARED_ADDRESS ? CONTINUE : REFUSED(REASON_outside_no_such_port);
	if (!is_open_to(service, &packet->source))
		return drop(REASON_outside_range);
	struct client client = { .address = packet->source, .seed = packet->source_port };
	__u32 number = choose_backend(&frontend, &client);
	struct backend *backend = find_backend(number);
	if (!backend)
		return REFUSED(REASON_outside_no_backend);
	bool direct = service->flags & SERVICE_DIRECT && node->vxlan && !is_own_address(node, &packet->destination);
	choice->backend = number;
	choice->flags = direct ? NAT_DIRECT : 0;
	choice->holder = direct && is_elsewhere(backend, node) ? holder_of(&backend->address) : 0;
	return CONTINUE;
}

/* The address as such, if it is one that services have for clients outside. */
static __always_inline struct service *outside_address(const struct address *address)
{
	struct endpoint key = { .address = *address, .scope = OUTSIDE };
	return bpf_map_lookup_elem(&tb_services, &key);
}

/* A packet of a client outside to such an address that no translation is known for. CONTINUE: there is one now, or there is a
 * holder, or the address has no such service. */
static __always_inline int open_outside(struct __sk_buff *skb, const struct packet *packet, const struct nat_key *key,
					__u32 address_flags, __be32 *holder)
{
	struct choice choice = {};
	if (holder && (*holder = follow_handover(packet, key)))
		return CONTINUE;
	int verdict = choose_outside(packet, address_flags, &choice);
	if (verdict != CONTINUE || !choice.backend)
		return verdict;
	if (!holder || !choice.holder)
		return enter_outside(skb, packet, &choice);
	*holder = choice.holder;
	remember_handover(packet, key, choice.backend);
	return CONTINUE;
}

/* At ingress of the uplink and of tbvxlan: a packet for this node or for an address that it announces. The `holder` is the node
 * that it has to go to as it is; 0: none. NULL: it has come through a tunnel, and goes through no other. CONTINUE: it is
 * neither to such a service nor an answer to what was translated. */
SUBPROGRAM int from_outside(struct __sk_buff *skb, struct packet *packet GIVEN, __be32 *holder)
{
	const struct node *node = this_node();
	struct service *address = outside_address(&packet->destination);
	if (!node || (!address && !is_own_address(node, &packet->destination)))
		return CONTINUE;
	if (packet->fragment) {
		if (packet->fragment == FIRST_FRAGMENT)
			has_nat_ports(skb, packet);
		int verdict = find_ports(skb, packet, FLOW_REPLY);
		if (verdict != CONTINUE)
			return verdict;
	}
	if (is_icmp_error(packet)) {
		int verdict = translate_error(skb, packet);
		return verdict == CONTINUE && address && holder ? find_holder_of_quoted(skb, packet, holder) : verdict;
	}
	bool shared = !address || address->flags & SERVICE_SHARED_ADDRESS;
	if (!has_nat_ports(skb, packet))
		return shared ? CONTINUE : REFUSED(REASON_outside_no_such_port);
	struct nat_key key = nat_key_of(packet);
	struct nat *nat = known_nat(packet, &key);
	if (!nat) {
		if (!address)
			return CONTINUE;
		int verdict = open_outside(skb, packet, &key, address->flags, holder);
		if (verdict != CONTINUE)
			return verdict;
		nat = find_nat(&key);
	}
	return nat ? translate(skb, packet, &key, nat) : CONTINUE;
}

/* At egress of the uplink and of tbvxlan: answers to such clients go out from where they have asked, and what pods ask
 * outside from the node. CONTINUE: the packet leaves as it is. */
static __always_inline int to_outside(struct __sk_buff *skb, struct packet *packet, bool masquerades)
{
	const struct node *node = this_node();
	const struct pod *pod = find_pod(&packet->source);
	if (!node || (!pod && !is_own_address(node, &packet->source)))
		return CONTINUE;
	if (packet->fragment) {
		if (packet->fragment == FIRST_FRAGMENT)
			has_nat_ports(skb, packet);
		int verdict = find_ports(skb, packet, FLOW_FORWARD);
		if (verdict != CONTINUE)
			return verdict;
	}
	if (is_icmp_error(packet))
		return translate_error(skb, packet);
	if (!has_nat_ports(skb, packet))
		return CONTINUE;
	struct nat_key key = nat_key_of(packet);
	struct nat *nat = known_nat(packet, &key);
	if (nat)
		return translate(skb, packet, &key, nat);
	return pod && masquerades ? masquerade(skb, packet, pod, node) : CONTINUE;
}
