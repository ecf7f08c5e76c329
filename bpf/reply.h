/* This file contains the way back to the client: what a backend answers comes from the service. Used at ingress of
 * eth0, and at egress of lo for what the pod answers itself. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flows.h"
#include "icmp.h"
#include "kernel_sockets.h"
#include "maps/backends.h"
#include "packet.h"
#include "rewrite.h"
#include "subprogram.h"
#include "verdict.h"

static __always_inline bool is_backend_address(const struct address *address)
{
	struct endpoint key = { .address = *address };
	return bpf_map_lookup_elem(&tb_endpoints, &key);
}

static __always_inline struct endpoint source_of(const struct packet *packet)
{
	return (struct endpoint){
		.address = packet->source,
		.port = packet->source_port,
		.protocol = packet->protocol,
	};
}

static __always_inline int send_reply(struct __sk_buff *skb, const struct packet *packet, struct flow_key *key,
				      struct flow *flow)
{
	follow(packet, key, flow);
	__u32 now = now_seconds();
	if (flow->seen != now)
		flow->seen = now;
	struct ports ports = { flow->port, flow->client_port };
	if (flow->flags & FLOW_DIRECT && ports.destination == packet->destination_port)
		return PASS;
	if (rewrite(skb, packet, SOURCE, &flow->address, ports))
		return drop(REASON_rewrite_failed);
	return PASS;
}

/* CONTINUE: the packet is no reply of a known flow. */
static __always_inline int reply(struct __sk_buff *skb, const struct packet *packet)
{
	struct flow_key key = flow_key_of(packet, FLOW_REPLY);
	bool looks_up = has_ports(packet->protocol) && may_be_known(flow_marks(), &packet->source, FLOW_REPLY);
	struct flow *flow = looks_up ? find_flow(&key) : NULL;
	return flow ? send_reply(skb, packet, &key, flow) : CONTINUE;
}

/* A reply whose flow has gone must not reach the client: it knows no such connection and would answer with a RST,
 * which ends one that the next packet of the client could have taken up again. What opens a connection is no reply. Nor
 * does a RST do harm to one that is not open yet: to a client that has given up straight to the backend it is owed, or the server
 * would wait for a minute, and the next who has the same port for it. What belongs to a connection straight to the backend
 * has a socket. PASS: the packet is no such reply. */
SUBPROGRAM int without_flow(struct __sk_buff *skb, const struct packet *packet GIVEN)
{
	if (packet->protocol != IPPROTO_TCP || packet->tcp_flags & TCP_SYN)
		return PASS;
	/* The address alone first: its place in the table is at hand, those of all the ports of a client never are. */
	if (!is_backend_address(&packet->source))
		return PASS;
	struct endpoint source = source_of(packet);
	struct flow_key key = flow_key_of(packet, FLOW_REPLY);
	if (!bpf_map_lookup_elem(&tb_endpoints, &source) || has_connection(skb, &key))
		return PASS;
	return drop(REASON_reply_without_flow);
}
