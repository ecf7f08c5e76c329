/* This file contains the program at tc egress of the uplink, where packets leave the node, whoever has sent them there. */
#include "node_services.h"
#include "packet.h"
#include "refuse.h"
#include "tunnelled.h"
#include "untranslated.h"
#include "verdict.h"

SEC("tc/egress")
int tb_uplink_out(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (is_untranslated(skb) || is_tunnel_of(skb, EGRESS))
		return PASS;
	if (parse(skb, &packet) != PARSED)
		return PASS;
	int verdict = to_outside(skb, &packet, true);
	/* The answer comes in by the uplink, as if from the network. */
	if (is_refused(verdict))
		return refuse(skb, &packet, REFUSED(0) - verdict);
	return verdict == CONTINUE || verdict == TRANSLATED ? PASS : verdict;
}

char _license[] SEC("license") = "GPL";
