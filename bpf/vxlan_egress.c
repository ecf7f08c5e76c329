/* This file contains the program at tc egress of tbvxlan. What pods send comes with its tunnel; what the stack has routed
 * here (the node's own packets, and those of pods that take the stack) is given one. */
#include "packet.h"
#include "tunnel.h"
#include "verdict.h"

SEC("tc/egress")
int tb_vxlan_out(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct bpf_tunnel_key known = {};
	if (!bpf_skb_get_tunnel_key(skb, &known, TUNNEL_KEY_WITHOUT_LOCAL, 0))
		return PASS;
	/* The device's own chatter: there is no link behind it. */
	if (parse(skb, &packet) == NOT_IP || stays_on_link(&packet))
		return TC_ACT_SHOT;
	struct tunnel *tunnel = find_tunnel(&packet.destination);
	const struct node *node = this_node();
	if (!tunnel || !tunnel->endpoint || !node)
		return drop(REASON_no_tunnel);
	int verdict = address_tunnel(skb, tunnel->endpoint, node->address);
	return verdict == CONTINUE ? PASS : verdict;
}

char _license[] SEC("license") = "GPL";
