/* This file contains the programs at the socket hooks of a cgroup, where a service is given a backend before there is
 * any packet: a connection costs nothing afterwards. */
#include "maps/flows.h"
#include "maps/sock_peers.h"
#include "marks.h"
#include "sock_service.h"
#include "sockets.h"

/* --- connect: what the socket is for is decided once ------------------------------------------------------------ */

static __always_inline int connect_to(struct bpf_sock_addr *context, bool ipv6)
{
	struct endpoint destination = get_endpoint(context, ipv6);
	struct caller caller = {};
	int kind = classify(context, &destination, &caller);
	if (kind == IS_NO_SUCH_PORT)
		return refuse_socket(REASON_socket_no_such_port);
	/* A connected UDP socket may outlive its backend. The packet programs can move it to another one, and a socket
	 * cannot be told. */
	bool left_to_packets = destination.protocol == IPPROTO_UDP && caller.netns_flags & NETNS_PACKET;
	if (kind == IS_NO_SERVICE || left_to_packets) {
		forget_service(context);
		return ALLOW;
	}
	struct backend *backend = find_backend(choose_backend(&destination, &caller.client));
	if (!backend)
		return refuse_socket(REASON_socket_no_backend);
	struct sock_service known = {
		.service = destination.address,
		.backend = backend->address,
		.service_port = destination.port,
		.backend_port = backend->port,
	};
	remember_service(context, &known);
	set_endpoint(context, ipv6, &backend->address, backend->port);
	count(REASON_socket_connected);
	return ALLOW;
}

SEC("cgroup/connect4")
int tb_connect4(struct bpf_sock_addr *context)
{
	return connect_to(context, IPV4);
}

SEC("cgroup/connect6")
int tb_connect6(struct bpf_sock_addr *context)
{
	return connect_to(context, IPV6);
}

/* --- getpeername, recvmsg: the socket is told the service -------------------------------------------------------- */

/* False: the socket was not connected to a service, or this is not its backend. */
static __always_inline bool show_service(struct bpf_sock_addr *context, const struct endpoint *peer, bool ipv6)
{
	struct sock_service *known = recall_service(context);
	if (!known || known->backend_port != peer->port || !address_equal(&known->backend, &peer->address))
		return false;
	set_endpoint(context, ipv6, &known->service, known->service_port);
	return true;
}

static __always_inline int name_peer(struct bpf_sock_addr *context, bool ipv6)
{
	struct endpoint peer = get_endpoint(context, ipv6);
	show_service(context, &peer, ipv6);
	return ALLOW;
}

SEC("cgroup/getpeername4")
int tb_getpeername4(struct bpf_sock_addr *context)
{
	return name_peer(context, IPV4);
}

SEC("cgroup/getpeername6")
int tb_getpeername6(struct bpf_sock_addr *context)
{
	return name_peer(context, IPV6);
}

static __always_inline struct sock_peer_key peer_key(__u64 cookie, const struct address *address, __be16 port, __u8 side)
{
	return (struct sock_peer_key){ .cookie = cookie, .address = *address, .port = port, .side = side };
}

static __always_inline int received(struct bpf_sock_addr *context, bool ipv6)
{
	struct endpoint peer = get_endpoint(context, ipv6);
	if (show_service(context, &peer, ipv6))
		return ALLOW;
	struct sock_peer_key key = peer_key(bpf_get_socket_cookie(context), &peer.address, peer.port, PEER_OF_BACKEND);
	struct sock_peer *service = bpf_map_lookup_elem(&tb_sock_peers, &key);
	if (service)
		set_endpoint(context, ipv6, &service->address, service->port);
	return ALLOW;
}

SEC("cgroup/recvmsg4")
int tb_recvmsg4(struct bpf_sock_addr *context)
{
	return received(context, IPV4);
}

SEC("cgroup/recvmsg6")
int tb_recvmsg6(struct bpf_sock_addr *context)
{
	return received(context, IPV6);
}

/* --- sendmsg: every message of an unconnected UDP socket --------------------------------------------------------- */

/* Whether the socket knows the backend by another service, so that a reply could be either's. */
static __always_inline bool known_otherwise(const struct sock_peer_key *service, const struct sock_peer_key *backend)
{
	struct sock_peer *known = bpf_map_lookup_elem(&tb_sock_peers, backend);
	return known && (known->port != service->port || !address_equal(&known->address, &service->address));
}

/* Whether the socket has sent to the backend by its own address, by the record of the packet programs. */
static __always_inline bool known_straight(struct bpf_sock_addr *context, const struct caller *caller,
					   const struct backend *backend)
{
	struct bpf_sock *socket = context->sk;
	if (!socket || !socket->src_port)
		return false; /* it has sent nothing yet */
	struct flow_key key = {
		.source = caller->client.address,
		.destination = backend->address,
		.source_port = bpf_htons(socket->src_port),
		.destination_port = backend->port,
		.protocol = IPPROTO_UDP,
		.direction = FLOW_FORWARD,
	};
	struct flow *flow = bpf_map_lookup_elem(&tb_flows, &key);
	return flow && flow->flags & FLOW_DIRECT;
}

/* Chooses a backend and remembers it in both directions. Returns what was remembered for the service: no backend, where
 * only the packet programs can tell replies apart (they change the source port). */
static __always_inline int choose_peer(struct bpf_sock_addr *context, const struct sock_peer_key *service,
				       const struct endpoint *destination, const struct caller *caller,
				       struct sock_peer *peer)
{
	__u32 number = choose_backend(destination, &caller->client);
	struct backend *backend = find_backend(number);
	if (!backend)
		return refuse_socket(REASON_socket_no_backend);
	struct sock_peer_key key = peer_key(service->cookie, &backend->address, backend->port, PEER_OF_BACKEND);
	bool by_packets = caller->netns_flags & NETNS_PACKET &&
			  (known_otherwise(service, &key) || known_straight(context, caller, backend));
	if (!by_packets) {
		struct sock_peer reverse = { .address = service->address, .port = service->port, .backend = number };
		*peer = (struct sock_peer){ .address = backend->address, .port = backend->port, .backend = number };
		bpf_map_update_elem(&tb_sock_peers, &key, &reverse, BPF_ANY);
	}
	bpf_map_update_elem(&tb_sock_peers, service, peer, BPF_ANY);
	count(REASON_socket_peer);
	return CONTINUE;
}

static __always_inline bool still_serves(const struct sock_peer *peer)
{
	struct backend *backend = find_backend(peer->backend);
	return backend && backend->state != BACKEND_NONE && backend->port == peer->port &&
	       address_equal(&backend->address, &peer->address);
}

/* The socket sends straight to what it may have for a service's backend: from now on packet programs see to that service, so
 * that each of the two answers for itself. */
static __always_inline void leave_to_packets(struct bpf_sock_addr *context, const struct endpoint *backend)
{
	struct caller caller = {};
	struct sock_peer none = {};
	struct sock_peer_key key =
		peer_key(bpf_get_socket_cookie(context), &backend->address, backend->port, PEER_OF_BACKEND);
	struct sock_peer *known = bpf_map_lookup_elem(&tb_sock_peers, &key);
	if (!known || !identify(context, address_is_ipv4(&backend->address), &caller) || !(caller.netns_flags & NETNS_PACKET))
		return;
	struct sock_peer_key service = peer_key(key.cookie, &known->address, known->port, PEER_OF_SERVICE);
	bpf_map_update_elem(&tb_sock_peers, &service, &none, BPF_ANY);
	bpf_map_delete_elem(&tb_sock_peers, &key);
}

/* The socket keeps its backend for as long as that lives: what a client asks in several messages should reach one
 * server. */
static __always_inline int send_to(struct bpf_sock_addr *context, bool ipv6)
{
	struct endpoint destination = get_endpoint(context, ipv6);
	struct caller caller = {};
	int kind = classify(context, &destination, &caller);
	if (kind == IS_NO_SUCH_PORT)
		return refuse_socket(REASON_socket_no_such_port);
	if (kind == IS_NO_SERVICE) {
		if (destination.protocol == IPPROTO_UDP && may_be_known(flow_marks(), &destination.address, MARK_OF_PEER))
			leave_to_packets(context, &destination);
		return ALLOW;
	}
	struct sock_peer_key key =
		peer_key(bpf_get_socket_cookie(context), &destination.address, destination.port, PEER_OF_SERVICE);
	struct sock_peer *known = bpf_map_lookup_elem(&tb_sock_peers, &key);
	struct sock_peer peer = {};
	if (known && (known->backend == 0 || still_serves(known))) {
		peer = *known;
	} else {
		int verdict = choose_peer(context, &key, &destination, &caller, &peer);
		if (verdict != CONTINUE)
			return verdict;
	}
	if (peer.backend) {
		mark_address(flow_marks(), &peer.address, MARK_OF_PEER);
		set_endpoint(context, ipv6, &peer.address, peer.port);
	}
	return ALLOW;
}

SEC("cgroup/sendmsg4")
int tb_sendmsg4(struct bpf_sock_addr *context)
{
	return send_to(context, IPV4);
}

SEC("cgroup/sendmsg6")
int tb_sendmsg6(struct bpf_sock_addr *context)
{
	return send_to(context, IPV6);
}

/* --- release: the last descriptor of a socket is closed ----------------------------------------------------------- */

SEC("cgroup/sock_release")
int tb_sock_release(struct bpf_sock *socket)
{
	if (socket->protocol == IPPROTO_TCP)
		leave_place(bpf_get_socket_cookie(socket));
	return ALLOW;
}

char _license[] SEC("license") = "GPL";
