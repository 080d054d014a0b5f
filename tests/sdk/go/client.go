package main

// What the scenario needs around the library: tokens, waiting with a deadline, clients that remember what they saw, and a
// line that can be cut.

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

const patience = 20 * time.Second

// Token signs claims with HS256.
func token(secret string, claims map[string]any) string {
	part := base64.RawURLEncoding.EncodeToString
	signed := part([]byte(`{"alg":"HS256"}`)) + "." + part(encode(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + part(mac.Sum(nil))
}

func encode(value any) []byte {
	data, err := json.Marshal(value)
	check("encode", err)
	return data
}

// Check ends the run: what fails is the server, and the test says where.
func check(what string, err error) {
	if err != nil {
		panic(fmt.Errorf("%s: %w", what, err))
	}
}

func until(what string, condition func() bool) {
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			check(what, fmt.Errorf("not within %s", patience))
		}
	}
}

// Code is that of an error of the server, and 0 of others.
func code(err error) uint32 {
	var refused *centrifuge.Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return 0
}

// Outage cuts every connection over the line, and lets none through while it does something.
func outage(control string, during func()) {
	conn, err := net.Dial("tcp", control)
	check("cut the line", err)
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1))
	check("cut the line", err)
	during()
}

// List is what one goroutine adds to while another looks.
type list[T any] struct {
	mutex sync.Mutex
	items []T
}

func (l *list[T]) add(item T) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.items = append(l.items, item)
}

func (l *list[T]) all() []T {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.items)
}

func (l *list[T]) len() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return len(l.items)
}

func (l *list[T]) last() T {
	items := l.all()
	return items[len(items)-1]
}

// Connection is a client, and what became of it.
type connection struct {
	*centrifuge.Client
	connected    list[string]
	connecting   list[uint32]
	disconnected list[uint32]
	// The subscription that the server makes.
	pushed stream
}

func newConnection(url string, protobuf bool, config centrifuge.Config) *connection {
	config.MinReconnectDelay = 50 * time.Millisecond
	config.MaxReconnectDelay = 500 * time.Millisecond
	config.HandshakeTimeout = patience
	open := centrifuge.NewJsonClient
	if protobuf {
		open = centrifuge.NewProtobufClient
	}
	c := &connection{Client: open(url, config)}
	c.OnConnected(func(event centrifuge.ConnectedEvent) { c.connected.add(event.ClientID) })
	c.OnConnecting(func(event centrifuge.ConnectingEvent) { c.connecting.add(event.Code) })
	c.OnDisconnected(func(event centrifuge.DisconnectedEvent) { c.disconnected.add(event.Code) })
	c.OnSubscribed(func(event centrifuge.ServerSubscribedEvent) {
		c.pushed.subscribed.add(recovery{event.WasRecovering, event.Recovered})
	})
	c.OnPublication(func(event centrifuge.ServerPublicationEvent) { c.pushed.publications.add(event.Publication) })
	// The library reports no code.
	c.OnUnsubscribed(func(centrifuge.ServerUnsubscribedEvent) { c.pushed.unsubscribed.add(0) })
	return c
}

// Up connects.
func (c *connection) up() *connection {
	check("connect", c.Connect())
	until("connection", func() bool { return c.connected.len() > 0 })
	return c
}

// Stream is what came by a subscription.
type stream struct {
	publications list[centrifuge.Publication]
	subscribed   list[recovery]
	unsubscribed list[uint32]
	changes      list[change]
}

type recovery struct {
	wasRecovering, recovered bool
}

// Subscription is a subscription, and what came by it.
type subscription struct {
	*centrifuge.Subscription
	stream
}

type change struct {
	what string
	info centrifuge.ClientInfo
}

func (c *connection) subscription(channel string, config centrifuge.SubscriptionConfig) *subscription {
	inner, err := c.NewSubscription(channel, config)
	check(channel, err)
	s := &subscription{Subscription: inner}
	s.OnPublication(func(event centrifuge.PublicationEvent) { s.publications.add(event.Publication) })
	s.OnSubscribed(func(event centrifuge.SubscribedEvent) {
		s.subscribed.add(recovery{event.WasRecovering, event.Recovered})
	})
	s.OnUnsubscribed(func(event centrifuge.UnsubscribedEvent) { s.unsubscribed.add(event.Code) })
	s.OnJoin(func(event centrifuge.JoinEvent) { s.changes.add(change{"join", event.ClientInfo}) })
	s.OnLeave(func(event centrifuge.LeaveEvent) { s.changes.add(change{"leave", event.ClientInfo}) })
	check(channel, s.Subscribe())
	return s
}

// A subscription that is subscribed.
func (c *connection) subscribe(channel string, config centrifuge.SubscriptionConfig) *subscription {
	s := c.subscription(channel, config)
	until("subscription to "+channel, func() bool { return s.subscribed.len() > 0 })
	return s
}
