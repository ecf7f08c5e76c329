/* This file contains the program at tc egress of tbvxlan. What pods send comes with its tunnel; what the stack has routed
 * here (the node's own packets, and those of pods that take the stack) is given one. */
#include "node_services.h"
#include "packet.h"
#include "tunnel.h"
#include "untranslated.h"
#include "verdict.h"

SEC("tc/egress")
int tb_vxlan_out(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct bpf_tunnel_key known = {};
	if (is_untranslated(skb))
		return PASS;
	/* The device's own chatter: there is no link behind it. */
	int parsed = parse(skb, &packet);
	if (parsed == NOT_IP || stays_on_link(&packet))
		return TC_ACT_SHOT;
	int verdict = parsed == PARSED ? to_outside(skb, &packet, false) : CONTINUE;
	if (verdict != CONTINUE && verdict != TRANSLATED)
		return verdict;
	if (!bpf_skb_get_tunnel_key(skb, &known, TUNNEL_KEY_WITHOUT_LOCAL, 0))
		return PASS;
	struct tunnel *tunnel = find_tunnel(&packet.destination);
	const struct node *node = this_node();
	if (!tunnel || !tunnel->endpoint || !node)
		return drop(REASON_no_tunnel);
	verdict = address_tunnel(skb, tunnel->endpoint, node->address);
	return verdict == CONTINUE ? PASS : verdict;
}

char _license[] SEC("license") = "GPL";
