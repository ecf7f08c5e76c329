/* This file contains the program at tc ingress of tbvxlan, where packets come out of the tunnels. */
#include "arrival.h"
#include "packet.h"
#include "tunnel.h"
#include "verdict.h"

/* A node speaks for its own segments and for itself. */
static __always_inline bool belongs_to(const struct address *source, __be32 endpoint)
{
	struct tunnel *tunnel = find_tunnel(source);
	return tunnel && tunnel->endpoint && tunnel->endpoint == endpoint;
}

SEC("tc/ingress")
int tb_vxlan_in(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct bpf_tunnel_key key = {};
	/* Without the whole IP header there are no addresses, and so no node that may have sent it. */
	int parsed = parse(skb, &packet);
	if (parsed == NOT_IP || bpf_skb_get_tunnel_key(skb, &key, TUNNEL_KEY_WITHOUT_LOCAL, 0) ||
	    key.tunnel_id != NETWORK || !belongs_to(&packet.source, bpf_htonl(key.remote_ipv4)))
		return drop(REASON_unknown_tunnel);
	if (parsed == TRUNCATED || !is_for_router(skb, &packet))
		return PASS;
	return arrive(skb, &packet, false);
}

char _license[] SEC("license") = "GPL";
