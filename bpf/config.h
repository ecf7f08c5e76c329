/* This file contains what the loader may set before a program is loaded: one struct in a read-only section of
 * its own (map ".rodata.config"), so that it is written as one piece. Branches on it cost nothing afterwards,
 * because the verifier removes those that cannot be taken. */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct config {
	/* Flows: seconds without a packet after which a flow of that state is removed. */
	__u32 tcp_new_seconds;
	__u32 tcp_open_seconds;
	__u32 tcp_half_closed_seconds;
	__u32 tcp_closing_seconds;
	__u32 tcp_lingering_seconds;
	__u32 udp_new_seconds;
	__u32 udp_open_seconds;
	__u32 sctp_seconds;
	/* Fragments: seconds for which a first fragment speaks for later ones, and these wait for it. */
	__u32 fragment_seconds;
	/* Sockets: 1: only namespaces listed in tb_netns are served; 0: all (kernels before 5.14 do not tell user
	 * space the cookie). */
	__u32 listed_netns_only;
	/* 1: the kernel has a coarse clock for programs (5.11). */
	__u32 coarse_clock;
	/* Refusals: how many clients outside get in a second, each of them, and all of them from each CPU. */
	__u32 refusals_to_client;
	__u32 refusals_of_cpu;
};

const volatile struct config tb_config SEC(".rodata.config") = {
	.tcp_new_seconds = 60,           /* SYN retransmissions of Linux reach 63 s after 6 tries */
	.tcp_open_seconds = 21600,       /* three times Linux's default keepalive of 7200 s: an idle connection survives */
	.tcp_half_closed_seconds = 3600, /* one side may go on sending: an upload, an event stream */
	.tcp_closing_seconds = 10,       /* last retransmissions; a new SYN may take the tuple at once anyway */
	.tcp_lingering_seconds = 60,     /* TIME-WAIT of Linux: docs/adr/0004 */
	.udp_new_seconds = 30,           /* as nf_conntrack_udp_timeout */
	.udp_open_seconds = 180,         /* of a flow that goes on; longer than nf_conntrack_udp_timeout_stream, as QUIC idles for long */
	.sctp_seconds = 21600,           /* its heartbeats (30 s) keep it alive */
	.fragment_seconds = 30,          /* as Linux reassembles; then an identification may name another packet */
	.listed_netns_only = 1,
	.coarse_clock = 1,
	.refusals_to_client = 100,       /* many attempts of one client at once; behind it there may be others */
	.refusals_of_cpu = 1000,         /* as net.ipv4.icmp_msgs_per_sec: a nuisance to nobody, if the sources are forged */
};
