/* This file contains the life of a tracked connection: what its packets make of its state, and how long it lives without
 * any. The table of flows and that of source NAT follow it alike. */
#pragma once

#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <stdbool.h>

#include "config.h"
#include "maps/flows.h"
#include "packet.h"

/* Seconds after a RST from which on further packets show that it was not believed: longer than what was on its
 * way when it came. */
#define RESET_GRACE_SECONDS 2

/* Seconds a UDP flow has to last to count as one that goes on: what is over before is a question and its answer. */
#define CONVERSATION_SECONDS 2

/* Where a connection is in its life: FLOW_NEW and so on, and the flags of both FINs. In a table it begins at a whole word. */
struct stage {
	__u8 state;
	__u8 flags;
};

/* Adds a flag to a half in its table, by one instruction: the FINs of both sides may come at once, by two CPUs, and neither
 * must be lost. */
static __always_inline void add_flag(__u8 *state, __u8 flag)
{
	const struct stage *known = (void *)state;
	if (!(known->flags & flag))
		__sync_fetch_and_add((__u32 *)state, bpf_htonl((__u32)flag << 16)); /* the second byte, whatever the byte order */
}

static __always_inline bool opens_connection(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Seconds a connection lives without a packet. `lasted` are those between its opening and its last packet. */
static __always_inline __u32 flow_timeout(__u8 protocol, __u8 state, __u8 flags, __s32 lasted)
{
	if (protocol == IPPROTO_SCTP)
		return tb_config.sctp_seconds;
	if (protocol != IPPROTO_TCP)
		return state == FLOW_NEW || lasted < CONVERSATION_SECONDS ? tb_config.udp_new_seconds
									  : tb_config.udp_open_seconds;
	if (state == FLOW_NEW)
		return tb_config.tcp_new_seconds;
	if (state == FLOW_CLOSING && flags & FLOW_LINGERS)
		return tb_config.tcp_lingering_seconds;
	if (state != FLOW_OPEN)
		return tb_config.tcp_closing_seconds;
	return flags & (FLOW_CLIENT_FIN | FLOW_SERVER_FIN) ? tb_config.tcp_half_closed_seconds
							   : tb_config.tcp_open_seconds;
}

/* Whether a packet may change the stage: the first reply, TCP's SYN, FIN and RST, and any packet after a RST. */
static __always_inline bool may_change(const struct packet *packet, __u8 direction, __u8 state)
{
	if (direction == FLOW_REPLY && state == FLOW_NEW)
		return true;
	return packet->protocol == IPPROTO_TCP &&
	       (packet->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST) || state == FLOW_RESET);
}

/* The flag of a FIN in this direction; 0: there is none. A RST ends more than that. */
static __always_inline __u8 fin_flag(__u8 direction, __u8 tcp_flags)
{
	if (!(tcp_flags & TCP_FIN) || tcp_flags & TCP_RST)
		return 0;
	return direction == FLOW_FORWARD ? FLOW_CLIENT_FIN : FLOW_SERVER_FIN;
}

/* The stage after such a packet, whose FIN is noted already. `tcp_flags` are 0 without TCP; `age` is that of the state, in
 * seconds. */
static __always_inline struct stage next_stage(struct stage stage, __u8 direction, __u8 tcp_flags, __s32 age)
{
	if (tcp_flags & TCP_RST) {
		stage.state = FLOW_RESET;
	} else if (tcp_flags & TCP_FIN) {
		if (stage.state == FLOW_OPEN && stage.flags & FLOW_CLIENT_FIN && stage.flags & FLOW_SERVER_FIN) {
			stage.state = FLOW_CLOSING;
			if (direction == FLOW_FORWARD)
				stage.flags |= FLOW_LINGERS;
		}
	} else if (stage.state == FLOW_NEW && direction == FLOW_REPLY) {
		stage.state = FLOW_OPEN;
	} else if (stage.state == FLOW_RESET && !(tcp_flags & TCP_SYN) && age >= RESET_GRACE_SECONDS) {
		stage.state = FLOW_OPEN;
	}
	return stage;
}
