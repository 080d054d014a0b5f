package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

// Three subscriptions over a line that is cut again and again, with tokens that are short of breath.
func (s *scenario) cuts(bob *connection) object {
	ann := newConnection("ws://"+s.options.Line+"/connection/websocket", s.options.Protobuf, centrifuge.Config{
		Token: s.token("ann", object{"exp": time.Now().Add(-time.Minute).Unix()}),
		GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			s.renewed.Add(1)
			return s.token("ann", object{"exp": time.Now().Add(life).Unix()}), nil
		},
	}).up()
	defer ann.Close()
	renewSub := func(event centrifuge.SubscriptionTokenEvent) (string, error) {
		s.renewedSub.Add(1)
		return s.token("ann", object{"channel": event.Channel, "exp": time.Now().Add(life).Unix()}), nil
	}
	subs := []*subscription{
		ann.subscribe(s.channel("open", "kept"), centrifuge.SubscriptionConfig{}),
		ann.subscribe(s.channel("open", "delta"), centrifuge.SubscriptionConfig{Delta: centrifuge.DeltaTypeFossil}),
		ann.subscribe(s.channel("private", "kept"), centrifuge.SubscriptionConfig{GetToken: renewSub}),
	}
	stop := s.publish(bob, subs)
	for cut := 1; cut <= cutsOfLine; cut++ {
		s.flows(subs)
		outage(s.options.Control, func() {
			missed := s.published.Load() + 10
			until("publications behind its back", func() bool { return s.published.Load() >= missed })
		})
		until("return", func() bool { return every(subs, func(sub *subscription) bool { return sub.subscribed.len() > cut }) })
	}
	// From here on the connection stays, if its tokens are renewed.
	renewed, renewedSub := s.renewed.Load()+2, s.renewedSub.Load()+2
	until("renewed tokens", func() bool { return s.renewed.Load() >= renewed && s.renewedSub.Load() >= renewedSub })
	s.flows(subs)
	stop()
	published := s.published.Load()
	until("all publications", func() bool {
		return every(subs, func(sub *subscription) bool { return int64(sub.publications.len()) >= published })
	})
	return s.summary(ann, subs)
}

func (s *scenario) summary(ann *connection, subs []*subscription) object {
	received, recovered, unsubscribed := [][]int64{}, [][]bool{}, []uint32{}
	for _, sub := range subs {
		received = append(received, numbers(sub.publications.all()))
		for _, event := range sub.subscribed.all()[1:] {
			recovered = append(recovered, []bool{event.WasRecovering, event.Recovered})
		}
		unsubscribed = append(unsubscribed, sub.unsubscribed.all()...)
	}
	members, err := subs[2].Presence(context.Background())
	check("presence", err)
	channelInfo := []string{}
	for _, info := range members.Clients {
		channelInfo = append(channelInfo, name(info.ChanInfo))
	}
	return object{
		"published":    s.published.Load(),
		"bytes":        s.published.Load() * int64(len(filler)),
		"received":     received,
		"recovered":    recovered,
		"connections":  ann.connected.len(),
		"unsubscribed": unsubscribed,
		"channel_info": channelInfo,
		"ordered":      s.orders(ann, subs[0]),
	}
}

// Publish counts in every channel, until it is told to stop.
func (s *scenario) publish(bob *connection, subs []*subscription) (stop func()) {
	var stopped atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		for !stopped.Load() {
			n := s.published.Load() + 1
			data := [][]byte{number(n), fmt.Appendf(nil, `{"n":%d,"filler":%q}`, n, filler), number(n)}
			var publishing sync.WaitGroup
			for at, sub := range subs {
				publishing.Go(func() {
					_, err := bob.Publish(context.Background(), sub.Channel, data[at])
					check("publish", err)
				})
			}
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
func (s *scenario) flows(subs []*subscription) {
	due := s.published.Load() + 20
	until("publications", func() bool {
		return every(subs, func(sub *subscription) bool { return int64(sub.publications.len()) >= due })
	})
}

func every(subs []*subscription, holds func(*subscription) bool) bool {
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
