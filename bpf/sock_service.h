/* This file contains what is remembered of a connected socket: which service it is to believe its peer to be. TCP sockets
 * have it in places of a table, from connect to close, as far as there are places; else it is in the socket's storage. */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "maps/sock_services.h"
#include "verdict.h"

/* What is asked of the kernel's own struct. */
struct sock {
	__u8 sk_kern_sock : 1;
} __attribute__((preserve_access_index));

/* Whether the socket may have a place: it runs tb_sock_release when it is closed. Sockets that the kernel has made for
 * itself (NFS, the subflows of MPTCP) do not. */
static __always_inline bool may_have_place(struct bpf_sock_addr *context)
{
	if (context->protocol != IPPROTO_TCP)
		return false;
	struct sock *socket = (void *)bpf_skc_to_tcp_sock(context->sk);
	return socket && !BPF_CORE_READ_BITFIELD(socket, sk_kern_sock);
}

static __always_inline struct tcp_service *place_of(__u64 cookie)
{
	__u32 place = cookie % TCP_SERVICES;
	return bpf_map_lookup_elem(&tb_tcp_service, &place);
}

/* Whether the socket has the place from now on. */
static __always_inline bool take_place(struct tcp_service *place, __u64 cookie)
{
	bpf_spin_lock(&place->lock);
	if (place->cookie == 0)
		place->cookie = cookie;
	bool taken = place->cookie == cookie;
	bpf_spin_unlock(&place->lock);
	return taken;
}

static __always_inline void leave_place(__u64 cookie)
{
	struct tcp_service *place = place_of(cookie);
	if (place && place->cookie == cookie)
		place->cookie = 0;
}

/* What is remembered of the socket, if anything is. */
static __always_inline struct sock_service *recall_service(struct bpf_sock_addr *context)
{
	if (context->protocol == IPPROTO_TCP) {
		__u64 cookie = bpf_get_socket_cookie(context);
		struct tcp_service *place = place_of(cookie);
		if (place && place->cookie == cookie)
			return &place->known;
	}
	return bpf_sk_storage_get(&tb_sock_service, context->sk, NULL, 0);
}

static __always_inline void remember_service(struct bpf_sock_addr *context, const struct sock_service *known)
{
	if (may_have_place(context)) {
		__u64 cookie = bpf_get_socket_cookie(context);
		struct tcp_service *place = place_of(cookie);
		if (place && take_place(place, cookie)) {
			place->known = *known;
			return;
		}
		count(REASON_socket_stored);
	}
	struct sock_service *stored =
		bpf_sk_storage_get(&tb_sock_service, context->sk, (void *)known, BPF_SK_STORAGE_GET_F_CREATE);
	if (stored)
		*stored = *known; /* of an earlier connect() of the same socket, it was kept */
}

static __always_inline void forget_service(struct bpf_sock_addr *context)
{
	if (context->protocol == IPPROTO_TCP)
		leave_place(bpf_get_socket_cookie(context));
	bpf_sk_storage_delete(&tb_sock_service, context->sk);
}
