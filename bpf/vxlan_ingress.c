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
	/* Without the whole IP header there are no addresses, and so no node that may have sent it. */
	int parsed = parse(skb, &packet);
	__be32 through = sender_of(skb);
	if (parsed == NOT_IP || !through)
		return drop(REASON_unknown_tunnel);
	bool for_router = parsed == PARSED && is_for_router(skb, &packet);
	struct way *way = for_router ? known_way(skb, &packet, through) : NULL;
	if (way)
		return take_way(skb, &packet, way);
	if (!belongs_to(&packet.source, through))
		return drop(REASON_unknown_tunnel);
	return for_router ? arrive(skb, &packet, through) : PASS;
}

char _license[] SEC("license") = "GPL";
