import {describe, expect, it} from 'vitest'
import {range} from '../support/rooms.ts'
import {type Held, judge, type Message, type Told} from './checker.ts'

const message = (seq: number, content = `text ${seq}`): Message => ({
  id: `m-${seq}`,
  roomId: 'r',
  userId: 'u',
  username: 'Ann',
  content,
  createdAt: '2026-01-01T00:00:00.000Z',
  isBot: false,
  seq,
})
const post = (number: number) => ({id: `p-${number}`, title: `title ${number}`})

/** Three messages and a post, all as they should be. */
const allWell = (): {client: Told; held: Held} => {
  const messages = range(0, 3).map((seq) => message(seq))
  return {
    client: {name: 'Ann', sent: [...messages], posted: [post(0)], received: [...messages], posts: [post(0)]},
    held: {
      messages: messages.map((one) => ({message: one, nonce: `n-${one.seq}`})),
      posts: [post(0)],
      tables: {messages: [...messages], posts: [post(0)]},
    },
  }
}

const countsAfter = (spoil: (all: ReturnType<typeof allWell>) => void) => {
  const all = allWell()
  spoil(all)
  const {lost, doubled, outOfOrder} = judge([all.client], all.held)
  return {lost: lost.length, doubled: doubled.length, outOfOrder: outOfOrder.length}
}

describe('judge', () => {
  it('finds nothing where all is well', () => {
    expect(countsAfter(() => {})).toEqual({lost: 0, doubled: 0, outOfOrder: 0})
    expect(judge([allWell().client], allWell().held).acknowledged).toBe(4)
  })

  it.each<[string, Parameters<typeof countsAfter>[0], object]>([
    ['an acknowledged message that the log does not hold', ({client}) => client.sent.push(message(3)), {lost: 1}],
    [
      'one that reads otherwise than it was acknowledged',
      ({client}) => client.sent.splice(0, 1, message(0, 'x')),
      {lost: 1},
    ],
    ['an acknowledged post that is nowhere', ({client}) => client.posted.push(post(1)), {lost: 2}],
    ['a message that a socket did not get', ({client}) => client.received.splice(1, 1), {lost: 1}],
    ['a message that the table does not have', ({held}) => held.tables.messages.pop(), {lost: 1}],
    ['a post that the table does not have', ({held}) => held.tables.posts.pop(), {lost: 1}],
    ['a post twice in its table', ({held}) => held.tables.posts.push(post(0)), {doubled: 1}],
    ['a row that the log does not know', ({held}) => held.tables.messages.push(message(3)), {doubled: 1}],
    ['a post published twice', ({held}) => held.posts.push({...post(0), id: 'p-9'}), {doubled: 1}],
    ['a post that a socket got twice', ({client}) => client.posts.push(post(0)), {doubled: 1}],
    ['acknowledgements out of order', ({client}) => client.sent.reverse(), {outOfOrder: 2}],
    ['messages that a socket got out of order', ({client}) => client.received.reverse(), {outOfOrder: 2}],
    ['a message that a socket got twice', ({client}) => client.received.push(message(2)), {doubled: 1, outOfOrder: 1}],
    [
      'a nonce and a text stored twice',
      ({client, held}) => {
        held.messages.push({message: message(3, 'text 2'), nonce: 'n-2'})
        for (const list of [held.tables.messages, client.received]) list.push(message(3, 'text 2'))
      },
      {doubled: 2},
    ],
    [
      'a gap in the log',
      ({client, held}) => {
        for (const list of [held.messages, held.tables.messages, client.sent, client.received]) list.splice(1, 1)
      },
      {lost: 1, outOfOrder: 1},
    ],
  ])('finds %s', (_, spoil, found) => {
    expect(countsAfter(spoil)).toMatchObject({lost: 0, doubled: 0, outOfOrder: 0, ...found})
  })
})
