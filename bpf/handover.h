/* This file contains the asked node's part in services whose backend is elsewhere: the client's packet goes through a tunnel
 * to the backend's node as it is, and that node answers the client itself. So it makes no difference to a connection which
 * node the network brings it to, and the backend sees the client. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "connection.h"
#include "encapsulation.h"
#include "hop.h"
#include "maps/handovers.h"
#include "nat.h"
#include "nat_packet.h"
#include "packet.h"
#include "services.h"
#include "subprogram.h"
#include "this_node.h"
#include "too_big.h"
#include "tunnel.h"
#include "untranslated.h"
#include "verdict.h"
#include "ways.h"

/* The node that takes over what is for a backend; 0: there is none. */
static __always_inline __be32 holder_of(const struct address *backend)
{
	struct tunnel *tunnel = find_tunnel(backend);
	return tunnel ? tunnel->holder : 0;
}

static __always_inline bool is_alive(struct __sk_buff *skb, const struct packet *packet)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	if (packet->ipv6) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		return (void *)(ip + 1) <= end && ip->hop_limit > 1;
	}
	struct iphdr *ip = data + ETH_HLEN;
	return (void *)(ip + 1) <= end && ip->ttl > 1;
}

/* Finds the way to another node, and takes it. */
SUBPROGRAM int go_to_holder(struct __sk_buff *skb, const struct packet *packet GIVEN, __be32 holder)
{
	const struct node *node = this_node();
	struct way *way = place_of_way(packet);
	if (!node || !way)
		return PASS;
	way->until = 0; /* whosever it was */
	way->untranslated = 1;
	way_to_tunnel(node, holder, way);
	way->kind = WAY_OF_HANDOVER;
	find_way_of_tunnel(skb, packet, way);
	if (may_be_remembered(packet))
		remember_way(way, skb, packet, 0);
	count_hop(skb, packet);
	mark_untranslated(skb, true);
	count(REASON_handed_over);
	return enter_tunnel(skb, packet, way);
}

/* Sends a packet to another node as it is, whatever its options. */
SUBPROGRAM int hand_over(struct __sk_buff *skb, const struct packet *packet GIVEN, __be32 holder)
{
	const struct node *node = this_node();
	if (!node || !node->vxlan)
		return drop(REASON_no_tunnel);
	/* Where it may be fragmented, the tunnel's own packet is. */
	if (wire_length(skb, packet) > node->overlay_mtu && !may_fragment(skb, packet))
		return tell_size(skb, packet, node->overlay_mtu);
	return is_alive(skb, packet) ? go_to_holder(skb, packet, holder) : to_stack(REASON_stack_ttl);
}

/* Who serves a client outside. */
struct choice {
	__u32 backend; /* number; 0: nobody */
	__u32 flags;   /* of the translation: NAT_DIRECT, or none */
	__be32 holder; /* the node that has the translation; 0: this one */
};

/* So that the flow stays there. */
SUBPROGRAM int remember_handover(const struct packet *packet GIVEN, const struct nat_key *key GIVEN, __u32 number)
{
	struct backend *backend = find_backend(number);
	if (!backend)
		return 0;
	__u32 now = now_seconds();
	struct handover handover = {
		.address = backend->address,
		.service = backend->service,
		.backend = number,
		.seen = now,
		.since = now,
		/* What is in the middle of a connection is remembered as such. */
		.state = packet->protocol == IPPROTO_TCP && !opens_connection(packet) ? FLOW_OPEN : FLOW_NEW,
	};
	if (bpf_map_update_elem(&tb_handovers, key, &handover, BPF_ANY))
		count(REASON_handover_untracked);
	return 0;
}

/* Whether a flow goes on where it is. An open TCP connection does whatever becomes of its backend: its end is the ends'
 * own to see. */
static __always_inline bool stays(const struct packet *packet, const struct handover *known)
{
	if (packet->protocol == IPPROTO_TCP && !opens_connection(packet))
		return true;
	struct backend *backend = find_backend(known->backend);
	if (!backend || backend->state == BACKEND_NONE || backend->service != known->service ||
	    !address_equal(&backend->address, &known->address))
		return false;
	return packet->protocol != IPPROTO_TCP || (backend->state == BACKEND_ACTIVE && known->state <= FLOW_OPEN);
}

static __always_inline void see_handover(const struct packet *packet, struct handover *known)
{
	__u8 state = FLOW_OPEN;
	if (packet->tcp_flags & TCP_RST)
		state = FLOW_RESET;
	else if (packet->tcp_flags & TCP_FIN || known->state == FLOW_CLOSING)
		state = FLOW_CLOSING;
	else if (packet->tcp_flags & TCP_SYN)
		state = known->state;
	if (known->state != state)
		known->state = state;
	__u32 now = now_seconds();
	if (known->seen != now)
		known->seen = now;
}

/* The node that a packet of a known flow goes to; 0: it is of none, or begins another. */
SUBPROGRAM __be32 follow_handover(const struct packet *packet GIVEN, const struct nat_key *key GIVEN)
{
	struct handover *known = bpf_map_lookup_elem(&tb_handovers, key);
	if (!known)
		return 0;
	__be32 holder = holder_of(&known->address);
	if (!holder || !stays(packet, known)) {
		bpf_map_delete_elem(&tb_handovers, key);
		return 0;
	}
	see_handover(packet, known);
	return holder;
}

/* An ICMP error about what a service has sent goes where the client's packets go, though the network brings it to whichever
 * node it likes. CONTINUE: the holder is to be had, or the error is about no service that is handed over. */
SUBPROGRAM int find_holder_of_quoted(struct __sk_buff *skb, const struct packet *outer GIVEN, __be32 *holder GIVEN)
{
	struct packet quoted = {};
	if (!parse_nat_quote(skb, outer, &quoted) || !has_ports(quoted.protocol))
		return CONTINUE;
	struct nat_key key = nat_key_of_answer(&quoted);
	struct handover *known = bpf_map_lookup_elem(&tb_handovers, &key);
	if (known) {
		*holder = holder_of(&known->address);
		return CONTINUE;
	}
	struct endpoint frontend = {
		.address = key.destination,
		.port = key.destination_port,
		.protocol = key.protocol,
		.scope = OUTSIDE,
	};
	struct service *service = find_service(&frontend);
	if (!service || !(service->flags & SERVICE_DIRECT))
		return CONTINUE;
	struct client client = { .address = key.source, .seed = key.source_port };
	struct backend *backend = find_backend(choose_backend(&frontend, &client));
	*holder = backend ? holder_of(&backend->address) : 0;
	return *holder ? CONTINUE : drop(REASON_icmp_without_flow);
}
