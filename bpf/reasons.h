/* This file contains the list of what tb_metrics counts: each reason by name, kind and one sentence. The agent
 * reads this list too, so names are metric labels. Add at the end: the position is the map's key. */
#pragma once

/* KINDS: DROP  the packet goes no further
 *        DENY  the packet or call is answered with a refusal
 *        EVENT the packet goes on, and by which way or in spite of what */
#define EACH_REASON(REASON) \
	REASON(malformed, DROP, "The packet ends inside its own headers.") \
	REASON(no_such_port, DENY, "The address is a service's, but the service has no such port.") \
	REASON(no_backend, DENY, "The service has no backend.") \
	REASON(flow_table_full, DROP, "A new flow found no room in tb_flows.") \
	REASON(no_source_port, DROP, "Another flow has the tuple and no free source port was found for this one.") \
	REASON(sctp_port, DROP, "SCTP needs another port, and its checksum cannot be mended: target port and port must be equal.") \
	REASON(rewrite_failed, DROP, "The kernel refused to rewrite the packet.") \
	REASON(no_route, DROP, "The pod has no route to the backend.") \
	REASON(fragments_full, DROP, "Too many fragments of one packet came before its first.") \
	REASON(fragment_too_long, DROP, "A fragment that came before its first is too long to be held.") \
	REASON(flow_created, EVENT, "A flow to a service began.") \
	REASON(flow_direct, EVENT, "A flow straight to a backend began.") \
	REASON(flow_reused, EVENT, "A new connection took over the tuple of a finished one.") \
	REASON(backend_replaced, EVENT, "A flow's backend was gone, it was given another.") \
	REASON(source_port_changed, EVENT, "The flow's tuple was taken, so its source port was changed.") \
	REASON(direct_untracked, EVENT, "A flow straight to a backend found no room in tb_flows and passed untracked.") \
	REASON(icmp_translated, EVENT, "An ICMP error about a translated packet was translated back.") \
	REASON(fragment_held, EVENT, "A fragment came before its first and waits for it.") \
	REASON(fragment_released, EVENT, "A fragment that waited went on after its first.") \
	REASON(socket_connected, EVENT, "A socket was connected to a backend.") \
	REASON(socket_peer, EVENT, "An unconnected UDP socket was given a backend.") \
	REASON(socket_no_such_port, DENY, "A socket asked for a port that the service does not have.") \
	REASON(socket_no_backend, DENY, "A socket asked for a service without backends.") \
	REASON(icmp_without_flow, DROP, "An ICMP error to a service's address is about no flow of this pod.") \
	REASON(spoofed_source, DROP, "A pod sent from an address or MAC address that is not its own.") \
	REASON(unknown_tunnel, DROP, "A tunnelled packet came from a node that its source does not belong to.") \
	REASON(no_tunnel, DROP, "A packet was routed into the overlay, and no node there has its destination.") \
	REASON(forwarded_to_pod, EVENT, "A packet went to a pod of this node, past the stack.") \
	REASON(forwarded_to_uplink, EVENT, "A pod's packet went out by the uplink, past the stack.") \
	REASON(forwarded_to_tunnel, EVENT, "A pod's packet went through the overlay, past the stack.") \
	REASON(stack_not_ip, EVENT, "A pod's frame is no IP packet to its gateway: ARP, a VLAN tag, another MAC address.") \
	REASON(stack_on_link, EVENT, "A pod's packet is multicast or to a neighbour: for the stack.") \
	REASON(stack_malformed, EVENT, "A pod's packet ends inside its transport header: for the stack.") \
	REASON(stack_options, EVENT, "A packet has options that routers look at: for the stack.") \
	REASON(stack_ttl, EVENT, "A packet's time to live is over: the stack answers.") \
	REASON(stack_mtu, EVENT, "A packet is too large for its way: the stack answers or fragments.") \
	REASON(stack_pod, EVENT, "A packet from or to a pod whose packets all take the stack.") \
	REASON(stack_flow, EVENT, "A pod's packet answers one that came by the stack: for the stack, which may have to translate it.") \
	REASON(stack_node, EVENT, "A pod's packet is for the node itself, or has no route: for the stack.") \
	REASON(stack_device, EVENT, "A pod's packet leaves by another device than the uplink: for the stack.") \
	REASON(flow_share_full, DROP, "A client has half of tb_flows already, and is given no more.") \
	REASON(nat_table_full, DROP, "A translation at the node found no room in tb_nat.") \
	REASON(nat_no_port, DROP, "No source port was found for a translation at the node.") \
	REASON(nat_untracked, EVENT, "A flow from outside straight to a pod found no room in tb_nat and passed untracked.") \
	REASON(no_node_address, DROP, "A packet has to leave with the node's address, and the node has none of its family.") \
	REASON(outside_no_such_port, DENY, "A client outside asked for a port that the service does not have.") \
	REASON(outside_no_backend, DENY, "A client outside asked for a service that has no backend, or none here where it may have no other.") \
	REASON(outside_range, DROP, "A client outside is not in the service's source ranges.") \
	REASON(outside_service, EVENT, "A flow from outside to a service began.") \
	REASON(masqueraded, EVENT, "A flow began that hides a pod behind the node.") \
	REASON(outside_unanswered, DROP, "A client outside was not told that it is refused: so many have been in this second.") \
	REASON(outside_no_service, DENY, "A packet came for an address of services that none has for clients outside.") \
	REASON(wrong_origin, DROP, "A packet from the network claimed to come from a pod that cannot send that way.") \
	REASON(socket_stored, EVENT, "A connected socket found its place in tb_tcp_service taken: its service is in its storage.") \
	REASON(handed_over, EVENT, "A packet of a client outside went to the node of its backend, as it is.") \
	REASON(handover_untracked, EVENT, "A flow to a backend elsewhere found no room in tb_handovers: a changed ring may move it.") \
	REASON(handover_too_big, DENY, "A packet of a client outside does not fit into the tunnel to its backend's node: the client is told the size.") \
	REASON(handover_no_backend, DROP, "Another node handed over a packet for a service that has no backend here.") \
	REASON(handover_fragment, DROP, "A fragment was handed over before the first of its packet.") \
	REASON(mss_clamped, EVENT, "A server was made to ask for segments that fit into a tunnel.") \
	REASON(cluster_unknown, DROP, "A pod asked somebody of whom nobody knows yet whether pods are to be hidden from him.") \
	REASON(encapsulated, EVENT, "A program put a packet into its tunnel, past tbvxlan.") \
	REASON(decapsulated, EVENT, "A program took a packet out of its tunnel, past tbvxlan.")

#define REASON_NUMBER(name, kind, sentence) REASON_##name,
enum reason {
	EACH_REASON(REASON_NUMBER)
	REASONS, /* how many there are */
};
#undef REASON_NUMBER