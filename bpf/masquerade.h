/* This file contains masquerading: what pods send to the outside leaves by the uplink with the node's address. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "nat.h"
#include "nat_packet.h"
#include "packet.h"
#include "pods.h"
#include "this_node.h"
#include "tunnel.h"
#include "verdict.h"

/* tb_tunnels has every part of the cluster that is not on this node, and what people have excepted. */
static __always_inline bool is_outside(const struct address *address)
{
	return !find_tunnel(address);
}

static __always_inline bool is_hidden(const struct pod *pod, const struct node *node)
{
	return node->flags & NODE_MASQUERADES && !(pod->flags & POD_KEEPS_ADDRESS);
}

/* CONTINUE: the translation is in the table. */
SUBPROGRAM int enter_masquerade(struct __sk_buff *skb, const struct packet *packet GIVEN, const struct node *node GIVEN)
{
	struct new_nat new = {
		.forward = nat_key_of(packet),
		.hides = true,
		.first_port = node->first_port,
		.ports = node->ports,
	};
	/* Turned round: the answers come from where the packet goes, to the node. */
	new.reply.source = packet->destination;
	new.reply.source_port = packet->destination_port;
	new.reply.destination_port = packet->source_port;
	new.reply.protocol = packet->protocol;
	if (!own_address(node, packet->ipv6, &new.reply.destination))
		return drop(REASON_no_node_address);
	int how = enter_nat(skb, &new);
	if (how != NAT_ENTERED)
		return drop(how == NAT_TABLE_FULL ? REASON_nat_table_full : REASON_nat_no_port);
	count(REASON_masqueraded);
	return CONTINUE;
}

/* At egress of the uplink: a pod's packet that no translation is known for. A TCP segment that opens nothing belongs to a
 * connection that somebody outside has made straight to the pod. To an announced address that no service has it would go
 * without being hidden, and the network need not know the way back. CONTINUE: it leaves as it is. */
static __always_inline int masquerade(struct __sk_buff *skb, struct packet *packet, const struct pod *pod,
				      const struct node *node)
{
	if (packet->protocol == IPPROTO_TCP ? !opens_connection(packet) : answers_echo(packet))
		return CONTINUE;
	if (!is_hidden(pod, node) && !(node->flags & NODE_AWAITS_CLUSTER))
		return CONTINUE;
	struct tunnel *inside = find_tunnel(&packet->destination);
	if (!inside && node->flags & NODE_AWAITS_CLUSTER)
		return drop(REASON_cluster_unknown);
	if (inside)
		return inside->flags & TUNNEL_OF_SERVICES ? REFUSED(REASON_outside_no_service) : CONTINUE;
	int verdict = enter_masquerade(skb, packet, node);
	if (verdict != CONTINUE)
		return verdict;
	struct nat_key key = nat_key_of(packet);
	struct nat *nat = find_nat(&key);
	return nat ? translate(skb, packet, &key, nat) : drop(REASON_nat_table_full);
}

/* At ingress of the uplink: somebody outside talks to a pod by its own address. Of UDP only the table knows later that the
 * pod answers, and does not ask. */
SUBPROGRAM int note_direct(struct __sk_buff *skb, const struct packet *packet GIVEN)
{
	const struct node *node = this_node();
	const struct pod *pod = find_pod(&packet->destination);
	if (packet->protocol != IPPROTO_UDP || !node || !pod || !is_hidden(pod, node))
		return 0;
	struct nat_key key = nat_key_of(packet);
	struct nat *known = find_nat(&key);
	if (known) {
		follow_nat(packet, &key, known);
		return 0;
	}
	if (!is_outside(&packet->source))
		return 0;
	struct new_nat new = { .forward = key, .ports = node->ports, .first_port = node->first_port };
	new.reply.source = packet->destination;
	new.reply.source_port = packet->destination_port;
	new.reply.destination = packet->source;
	new.reply.destination_port = packet->source_port;
	new.reply.protocol = packet->protocol;
	if (bpf_map_lookup_elem(&tb_nat, &new.reply))
		return 0; /* the pod has asked first */
	if (enter_nat(skb, &new) != NAT_ENTERED)
		count(REASON_nat_untracked);
	return 0;
}
