/* This file contains the way back to the client: what a backend answers comes from the service. Used at ingress of
 * eth0, and at egress of lo for what the pod answers itself. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flows.h"
#include "icmp.h"
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
