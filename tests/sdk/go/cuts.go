package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

// Four subscriptions over a line that is cut again and again, with tokens that are short of breath.
func (s *scenario) cuts(bob *connection) object {
	pushed := s.channel("private", "pushed")
	ann := newConnection("ws://"+s.options.Line+"/connection/websocket", s.options.Protobuf, centrifuge.Config{
		Token: s.token("ann", object{"exp": time.Now().Add(-time.Minute).Unix()}),
		GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			s.renewed.Add(1)
			return s.token("ann", object{"exp": time.Now().Add(life).Unix(), "channels": []string{pushed}}), nil
		},
	}).up()
	defer ann.Close()
	renewSub := func(event centrifuge.SubscriptionTokenEvent) (string, error) {
		s.renewedSub.Add(1)
		return s.token("ann", object{"channel": event.Channel, "exp": time.Now().Add(life).Unix()}), nil
	}
	plain := ann.subscribe(s.channel("open", "kept"), centrifuge.SubscriptionConfig{})
	delta := ann.subscribe(s.channel("open", "delta"), centrifuge.SubscriptionConfig{Delta: centrifuge.DeltaTypeFossil})
	private := ann.subscribe(s.channel("private", "kept"), centrifuge.SubscriptionConfig{GetToken: renewSub})
	subs := []*stream{&plain.stream, &delta.stream, &private.stream, &ann.pushed}
	stop := s.publish(bob, plain.Channel, delta.Channel, private.Channel, pushed)
	for cut := 1; cut <= cutsOfLine; cut++ {
		s.flows(subs)
		outage(s.options.Control, func() {
			missed := s.published.Load() + 10
			until("publications behind its back", func() bool { return s.published.Load() >= missed })
		})
		until("return", func() bool { return every(subs, func(sub *stream) bool { return sub.subscribed.len() > cut }) })
	}
	// From here on the connection stays, if its tokens are renewed.
	renewed, renewedSub := s.renewed.Load()+2, s.renewedSub.Load()+2
	until("renewed tokens", func() bool { return s.renewed.Load() >= renewed && s.renewedSub.Load() >= renewedSub })
	s.flows(subs)
	stop()
	published := s.published.Load()
	until("all publications", func() bool {
		return every(subs, func(sub *stream) bool { return int64(sub.publications.len()) >= published })
	})
	seen := s.summary(ann, subs)
	seen["channel_info"] = channelInfo(private)
	seen["ordered"] = s.orders(ann, plain)
	return seen
}

func (s *scenario) summary(ann *connection, subs []*stream) object {
	received, recovered, unsubscribed := [][]int64{}, [][]bool{}, []uint32{}
	for _, sub := range subs {
		received = append(received, numbers(sub.publications.all()))
		for _, event := range sub.subscribed.all()[1:] {
			recovered = append(recovered, []bool{event.wasRecovering, event.recovered})
		}
		unsubscribed = append(unsubscribed, sub.unsubscribed.all()...)
	}
	return object{
		"published":    s.published.Load(),
		"bytes":        s.published.Load() * int64(len(filler)),
		"received":     received,
		"recovered":    recovered,
		"connections":  ann.connected.len(),
		"unsubscribed": unsubscribed,
	}
}

func channelInfo(sub *subscription) []string {
	members, err := sub.Presence(context.Background())
	check("presence", err)
	names := []string{}
	for _, info := range members.Clients {
		names = append(names, name(info.ChanInfo))
	}
	return names
}

// Publish counts in every channel, until it is told to stop.
func (s *scenario) publish(bob *connection, plain, delta, private, pushed string) (stop func()) {
	var stopped atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		for !stopped.Load() {
			n := s.published.Load() + 1
			var publishing sync.WaitGroup
			publish := func(channel string, data []byte) {
				publishing.Go(func() {
					_, err := bob.Publish(context.Background(), channel, data)
					check("publish", err)
				})
			}
			publish(plain, number(n))
			publish(delta, fmt.Appendf(nil, `{"n":%d,"filler":%q}`, n, filler))
			publish(private, number(n))
			publish(pushed, number(n))
			publishing.Wait()
			s.published.Store(n)
			time.Sleep(10 * time.Millisecond)
		}
	})
	return func() {
		stopped.Store(true)
		done.Wait()
	}
}

// Flows waits until every subscription has what was published by now and twenty more.
func (s *scenario) flows(subs []*stream) {
	due := s.published.Load() + 20
	until("publications", func() bool {
		return every(subs, func(sub *stream) bool { return int64(sub.publications.len()) >= due })
	})
}

func every(subs []*stream, holds func(*stream) bool) bool {
	for _, sub := range subs {
		if !holds(sub) {
			return false
		}
	}
	return true
}

// What a backend orders, by the code that arrives.
func (s *scenario) orders(ann *connection, sub *subscription) []uint32 {
	user := "ann-" + s.run
	s.call("unsubscribe", object{"user": user, "channel": sub.Channel})
	until("end of a subscription", func() bool { return sub.unsubscribed.len() > 0 })
	connections := ann.connected.len()
	s.call("disconnect", object{"user": user, "disconnect": object{"code": 4000, "reason": "come again"}})
	until("connection", func() bool { return ann.connected.len() > connections })
	cameAgain := ann.connecting.last()
	s.call("disconnect", object{"user": user})
	until("end of a connection", func() bool { return ann.disconnected.len() > 0 })
	return []uint32{sub.unsubscribed.last(), cameAgain, ann.disconnected.last()}
}
