/* This file contains what the socket programs share: the address a call is about, who calls, and what is remembered of
 * it. Addresses of both families are 16 bytes, so a socket of IPv6 that speaks IPv4 (::ffff:a.b.c.d) needs no case of
 * its own. */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "config.h"
#include "maps/netns.h"
#include "services.h"
#include "verdict.h"

/* VERDICTS of a socket program: */
#define REFUSE 0 /* connect and sendmsg only */
#define ALLOW 1

#define ECONNREFUSED 111

/* Which fields a program may touch depends on the family of its hook, hence a constant in each. */
#define IPV4 false
#define IPV6 true

static __always_inline struct endpoint get_endpoint(const struct bpf_sock_addr *context, bool ipv6)
{
	struct endpoint endpoint = { .port = context->user_port, .protocol = context->protocol };
	if (ipv6) {
		endpoint.address.words[0] = context->user_ip6[0];
		endpoint.address.words[1] = context->user_ip6[1];
		endpoint.address.words[2] = context->user_ip6[2];
		endpoint.address.words[3] = context->user_ip6[3];
	} else {
		endpoint.address = address_of_ipv4(context->user_ip4);
	}
	return endpoint;
}

static __always_inline void set_endpoint(struct bpf_sock_addr *context, bool ipv6, const struct address *address,
					 __be16 port)
{
	context->user_port = port;
	if (ipv6) {
		context->user_ip6[0] = address->words[0];
		context->user_ip6[1] = address->words[1];
		context->user_ip6[2] = address->words[2];
		context->user_ip6[3] = address->words[3];
	} else {
		context->user_ip4 = address->words[3];
	}
}

/* The call fails with ECONNREFUSED where the kernel lets a program say so (5.18), with EPERM elsewhere. */
static __always_inline int refuse_socket(enum reason reason)
{
	count(reason);
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_set_retval))
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

/* A socket that asks for a service. */
struct caller {
	__u32 netns_flags;
	struct client client;
};

static __always_inline bool is_zero(const struct address *address)
{
	return !(address->words[0] | address->words[1] | address->words[2] | address->words[3]);
}

/* Fills in who calls. False: its namespace is not served. */
static __always_inline bool identify(struct bpf_sock_addr *context, bool ipv4_service, struct caller *caller)
{
	__u64 cookie = bpf_get_netns_cookie(context);
	struct netns *netns = bpf_map_lookup_elem(&tb_netns, &cookie);
	if (netns) {
		caller->netns_flags = netns->flags;
		caller->client.address = ipv4_service ? netns->ipv4 : netns->ipv6;
	} else if (tb_config.listed_netns_only) {
		return false;
	} else {
		caller->netns_flags = NETNS_SOCKET;
	}
	/* A namespace without an address of its own is one client all the same. */
	if (is_zero(&caller->client.address))
		caller->client.address = (struct address){ .words = { 0, 0, cookie >> 32, cookie } };
	caller->client.seed = bpf_get_socket_cookie(context);
	return caller->netns_flags & NETNS_SOCKET;
}

/* Whether the call is about a service in a namespace that is served. Two more look-ups follow only then: most
 * sockets do not call a service. */
#define IS_NO_SERVICE 0
#define IS_SERVICE 1
#define IS_NO_SUCH_PORT 2

static __always_inline int classify(struct bpf_sock_addr *context, const struct endpoint *destination,
				    struct caller *caller)
{
	if (destination->protocol != IPPROTO_TCP && destination->protocol != IPPROTO_UDP)
		return IS_NO_SERVICE;
	struct service *address = service_address(&destination->address);
	if (!address || !identify(context, address_is_ipv4(&destination->address), caller))
		return IS_NO_SERVICE;
	if (find_service(destination))
		return IS_SERVICE;
	return address->flags & SERVICE_SHARED_ADDRESS ? IS_NO_SERVICE : IS_NO_SUCH_PORT;
}
