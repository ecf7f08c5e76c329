/* This file contains the way from the client: a packet to a service becomes one to a backend, and a packet straight
 * to a backend is kept apart from those. Used at egress of eth0, and of lo for what the pod sends itself. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flows.h"
#include "kernel_sockets.h"
#include "next_hop.h"
#include "packet.h"
#include "refuse.h"
#include "rewrite.h"
#include "services.h"
#include "subprogram.h"
#include "verdict.h"

/* Another return of a stage: the packet is to no service. */
#define STRAIGHT (-3)

static __always_inline struct endpoint destination_of(const struct packet *packet)
{
	return (struct endpoint){
		.address = packet->destination,
		.port = packet->destination_port,
		.protocol = packet->protocol,
	};
}

/* Sends the pod what it sends itself. This is the one combination the kernel accepts: the MAC addresses have to be
 * lo's (zeros), or the packet is another host's; it has to come in rather than go out, or it keeps the route it was
 * to leave by; and lo.accept_local has to be 1, since its source is an address of this very pod. */
static __always_inline int to_self(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *ethernet = data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return drop(REASON_rewrite_failed);
	__builtin_memset(ethernet->h_dest, 0, ETH_ALEN);
	return bpf_redirect(LOOPBACK, BPF_F_INGRESS);
}

/* Translates a packet of a known flow. */
static __always_inline int send_forward(struct __sk_buff *skb, const struct packet *packet, struct flow_key *key,
					struct flow *flow)
{
	follow(packet, key, flow);
	__u32 now = now_seconds();
	bool refresh = flow->seen != now;
	if (refresh)
		flow->seen = now;
	struct ports ports = { flow->client_port, flow->port };
	if (flow->flags & FLOW_DIRECT) {
		if (ports.source != packet->source_port &&
		    rewrite(skb, packet, DESTINATION, &packet->destination, ports))
			return drop(REASON_rewrite_failed);
		return PASS;
	}
	if (rewrite(skb, packet, DESTINATION, &flow->address, ports))
		return drop(REASON_rewrite_failed);
	if (flow->flags & FLOW_SELF)
		return to_self(skb);
	return to_next_hop(skb, packet, flow, refresh);
}

/* CONTINUE: the flow is in the table. */
static __always_inline int enter(struct __sk_buff *skb, const struct packet *packet, struct new_flow *new)
{
	int how = enter_flow(skb, new);
	bool direct = new->flow.flags & FLOW_DIRECT;
	/* Not where a translated flow has the tuple: each would get the other's packets. */
	if ((how == FLOW_TABLE_FULL || how == FLOW_SHARE_FULL) && direct && !is_taken(new)) {
		count(REASON_direct_untracked);
		return PASS;
	}
	if (how == FLOW_TABLE_FULL)
		return drop(REASON_flow_table_full);
	if (how == FLOW_SHARE_FULL)
		return drop(REASON_flow_share_full);
	if (how == FLOW_NO_PORT)
		return drop(packet->protocol == IPPROTO_SCTP ? REASON_sctp_port : REASON_no_source_port);
	if (how == FLOW_ENTERED_ON_OTHER_PORT)
		count(REASON_source_port_changed);
	count(direct ? REASON_flow_direct : REASON_flow_created);
	return CONTINUE;
}

/* Whether the pod's sockets are the record of a flow straight to a backend. */
static __always_inline bool recorded_by_socket(struct __sk_buff *skb, const struct endpoint *backend)
{
	if (backend->protocol == IPPROTO_TCP)
		return sent_by_tcp_socket(skb);
	return backend->protocol == IPPROTO_UDP && is_peer_of_socket(skb, &backend->address, backend->port);
}

/* A packet that is to no service. Only one that opens a flow to a backend matters: the tuple it takes must not be
 * given to a translated flow, nor the other way round. CONTINUE: that is `new`. */
SUBPROGRAM int plan_direct(struct __sk_buff *skb, const struct packet *packet GIVEN, struct new_flow *new GIVEN)
{
	if ((packet->protocol == IPPROTO_TCP && !opens_connection(packet)) || !has_ports(packet->protocol) ||
	    packet->fragment == LATER_FRAGMENT)
		return PASS;
	struct endpoint destination = destination_of(packet);
	if (!bpf_map_lookup_elem(&tb_endpoints, &destination))
		return PASS;
	new->flow.address = destination.address;
	new->flow.port = destination.port;
	new->flow.flags = FLOW_DIRECT;
	return recorded_by_socket(skb, &destination) && !is_taken(new) ? PASS : CONTINUE;
}

/* A packet to a service that belongs to no flow. A TCP segment from the middle of a connection is one too, when the
 * table was lost: a Maglev service then finds the same backend, any other backend answers with the RST that tells
 * the client at once. CONTINUE: `new` is the flow it is to have. */
SUBPROGRAM int plan_flow(const struct packet *packet GIVEN, struct new_flow *new GIVEN)
{
	struct service *address = service_address(&packet->destination);
	if (!address)
		return STRAIGHT;
	struct endpoint frontend = destination_of(packet);
	struct client client = { .address = packet->source, .seed = packet->source_port };
	__u32 number = has_ports(packet->protocol) ? choose_backend(&frontend, &client) : 0;
	struct backend *backend = find_backend(number);
	if (!backend) {
		if (has_ports(packet->protocol) && find_service(&frontend))
			return REFUSED(REASON_no_backend);
		return address->flags & SERVICE_SHARED_ADDRESS ? STRAIGHT : REFUSED(REASON_no_such_port);
	}
	if (packet->protocol == IPPROTO_SCTP && backend->port != packet->destination_port)
		return drop(REASON_sctp_port);
	new->flow.address = backend->address;
	new->flow.port = backend->port;
	new->flow.service = backend->service;
	new->flow.backend = number;
	new->flow.flags = address_equal(&backend->address, &packet->source) ? FLOW_SELF : 0;
	return CONTINUE;
}

/* The first packet of a flow, or one of none. `old`: a finished flow of the same key, if there is one. CONTINUE: the flow is
 * in the table. Seen long ago, so that the packet finds the next hop out of date. */
SUBPROGRAM int begin(struct __sk_buff *skb, const struct packet *packet GIVEN, struct flow *old)
{
	struct new_flow new = {
		.key = flow_key_of(packet, FLOW_FORWARD),
		.flow = { .client_port = packet->source_port, .since = now_seconds() },
	};
	int verdict = plan_flow(packet, &new);
	if (verdict == STRAIGHT)
		verdict = plan_direct(skb, packet, &new);
	if (verdict == CONTINUE && old && renew_flow(&new, old)) {
		count(new.flow.flags & FLOW_DIRECT ? REASON_flow_direct : REASON_flow_created);
		return CONTINUE;
	}
	if (old)
		delete_flow(&new.key, old);
	return verdict == CONTINUE ? enter(skb, packet, &new) : verdict;
}

/* Whether an opening TCP segment finds its tuple's flow finished, or the backend not to be had any more. */
SUBPROGRAM bool connects_anew(const struct flow_key *key GIVEN, const struct flow *flow GIVEN)
{
	if (flow->state == FLOW_CLOSING || flow->state == FLOW_RESET || flow_expired(key, flow, now_seconds())) {
		count(REASON_flow_reused);
		return true;
	}
	if (flow->flags & FLOW_DIRECT)
		return false;
	struct backend *backend = backend_of(flow);
	if (backend && backend->state == BACKEND_ACTIVE)
		return false;
	count(REASON_backend_replaced);
	return true;
}

/* Whether a packet begins another flow with the tuple of one in the table. */
static __always_inline bool begins_anew(const struct packet *packet, const struct flow_key *key, const struct flow *flow)
{
	if (packet->protocol == IPPROTO_TCP)
		return opens_connection(packet) && connects_anew(key, flow);
	/* Without connections every packet may be the first to a backend that has gone. */
	if (flow->flags & FLOW_DIRECT || backend_of(flow))
		return false;
	count(REASON_backend_replaced);
	return true;
}

static __always_inline int forward(struct __sk_buff *skb, const struct packet *packet)
{
	bool looks_up = has_ports(packet->protocol) && may_be_known(flow_marks(), &packet->destination, FLOW_FORWARD);
	struct flow_key key = flow_key_of(packet, FLOW_FORWARD);
	struct flow *flow = looks_up ? find_flow(&key) : NULL;
	if (!flow || begins_anew(packet, &key, flow)) {
		int verdict = begin(skb, packet, flow);
		if (is_refused(verdict))
			return refuse(skb, packet, REFUSED(0) - verdict);
		if (verdict != CONTINUE)
			return verdict;
		flow = find_flow(&key);
		if (!flow)
			return drop(REASON_flow_table_full);
	}
	return send_forward(skb, packet, &key, flow);
}
