package clienttests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestMessagesArriveInOrderWithTheirProperties(t *testing.T) {
	channel := open(t)
	queue := declare(t, channel, nil)
	deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	const count = 1000
	go func() {
		for number := range int64(count) {
			_ = channel.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{
				Headers:   amqp.Table{"number": number, "float": 2.5, "list": []interface{}{"a", int32(1)}, "table": amqp.Table{"b": true}},
				MessageId: fmt.Sprint(number), Priority: 3, DeliveryMode: amqp.Persistent, Body: []byte(fmt.Sprint(number)),
			})
		}
	}()
	for number := range int64(count) {
		delivery := next(t, deliveries, "delivery")
		want(t, string(delivery.Body), fmt.Sprint(number), "body")
		want(t, delivery.MessageId, fmt.Sprint(number), "message id")
		want(t, delivery.Headers["number"].(int64), number, "header")
		want(t, delivery.Headers["float"].(float64), 2.5, "header")
		want(t, delivery.Priority, 3, "priority")
		want(t, delivery.DeliveryMode, amqp.Persistent, "delivery mode")
	}
	if err := channel.Ack(count, true); err != nil {
		t.Fatal(err)
	}
}

func TestEveryPublishIsConfirmedOnceInOrder(t *testing.T) {
	channel := open(t)
	queue := declare(t, channel, nil)
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	const count = 2000
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, count))
	for range count {
		if err := channel.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for number := range uint64(count) {
		confirm := next(t, confirms, "confirm")
		want(t, confirm.DeliveryTag, number+1, "tag")
		want(t, confirm.Ack, true, "ack")
	}
	found, err := channel.QueueDeclarePassive(queue, false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, found.Messages, count, "messages")
}

func TestADeferredConfirmationWaits(t *testing.T) {
	channel := open(t)
	queue := declare(t, channel, nil)
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	deferred, err := channel.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, true, false, amqp.Publishing{Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	within, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	acked, err := deferred.WaitContext(within)
	if err != nil || !acked {
		t.Fatalf("confirm: %v %v", acked, err)
	}
}

func TestAnUnroutableMessageReturnsBeforeItsConfirm(t *testing.T) {
	channel := open(t)
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	returns, confirms := channel.NotifyReturn(make(chan amqp.Return)), channel.NotifyPublish(make(chan amqp.Confirmation, 1))
	if err := channel.PublishWithContext(context.Background(), "amq.direct", unique("nowhere"), true, false, amqp.Publishing{Body: []byte("back")}); err != nil {
		t.Fatal(err)
	}
	returned := next(t, returns, "return")
	want(t, returned.ReplyCode, amqp.NoRoute, "code")
	want(t, string(returned.Body), "back", "body")
	want(t, next(t, confirms, "confirm").Ack, true, "ack")
}

func TestAFullQueueThatRejectsIsAnsweredWithNack(t *testing.T) {
	channel := open(t)
	queue := declare(t, channel, amqp.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, 10))
	refused := 0
	for range 5 {
		if err := channel.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if !next(t, confirms, "confirm").Ack {
			refused++
		}
	}
	if refused < 3 {
		t.Fatalf("only %d of 5 were refused", refused)
	}
}

func TestRequeuedMessagesComeBackMarked(t *testing.T) {
	channel := open(t)
	queue := declare(t, channel, nil)
	if err := channel.Qos(1, 0, false); err != nil {
		t.Fatal(err)
	}
	deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"1", "2"} {
		_ = channel.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{Body: []byte(body)})
	}
	first := next(t, deliveries, "delivery")
	want(t, first.Redelivered, false, "redelivered")
	_ = first.Nack(false, true)
	again := next(t, deliveries, "redelivery")
	want(t, string(again.Body), "1", "body")
	want(t, again.Redelivered, true, "redelivered")
	_ = again.Reject(false)
	want(t, string(next(t, deliveries, "delivery").Body), "2", "body")
}

func TestALargeMessagePasses(t *testing.T) {
	channel := open(t)
	queue := declare(t, channel, nil)
	body := bytes.Repeat([]byte("0123456789abcdef"), 10<<16)
	if err := channel.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{Body: body}); err != nil {
		t.Fatal(err)
	}
	deliveries, err := channel.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(next(t, deliveries, "delivery").Body, body) {
		t.Fatal("the body changed on its way")
	}
}

func TestATransactionShowsItsMessagesAtCommit(t *testing.T) {
	channel, reader := open(t), open(t)
	queue, err := channel.QueueDeclare(unique("go"), false, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = channel.QueueDelete(queue.Name, false, false, false) }()
	if err := channel.Tx(); err != nil {
		t.Fatal(err)
	}
	_ = channel.PublishWithContext(context.Background(), "", queue.Name, false, false, amqp.Publishing{Body: []byte("x")})
	if _, found, err := reader.Get(queue.Name, true); found || err != nil {
		t.Fatalf("visible before commit: %v %v", found, err)
	}
	if err := channel.TxCommit(); err != nil {
		t.Fatal(err)
	}
	if _, found, err := reader.Get(queue.Name, true); !found || err != nil {
		t.Fatalf("not there after commit: %v %v", found, err)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("AMQP_URL") == "" {
		fmt.Println("AMQP_URL names no broker")
		os.Exit(2)
	}
	watchdog := time.AfterFunc(3*time.Minute, func() { panic("the suite hangs") })
	defer watchdog.Stop()
	os.Exit(m.Run())
}
