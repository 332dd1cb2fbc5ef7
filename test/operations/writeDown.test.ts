import {describe, expect, it} from 'vitest'
import {community} from '../support/commandLine.ts'
import {signUp, startServer} from '../support/server.ts'
import {storedEvents} from '../support/storedEvents.ts'

describe('what an operator changes', () => {
  it('is an event, and what a command only reads is none', {timeout: 120_000}, async () => {
    const server = await startServer()
    const ann = await signUp(server)
    await ann.post('/api/posts', {title: 'Hello'})
    const run = async (...args: string[]) =>
      expect((await community(server.env, ...args)).status, args.join(' ')).toBe(0)
    const written = async () =>
      (await storedEvents(server, 'operations')).map(({type, data, metadata}) => ({type, data, metadata}))

    const before = (await storedEvents(server)).length
    await run('projections', 'list')
    await run('projections', 'verify')
    expect(await storedEvents(server)).toHaveLength(before)

    await run('projections', 'rebuild', 'posts', 'users')
    await run('projections', 'rollback', 'posts')
    await run('users', 'erase', ann.id)
    await run('users', 'erase', ann.id)
    const events = await written()
    expect(events.map(({type, data}) => ({type, data}))).toEqual([
      {
        type: 'ProjectionRebuilt',
        data: {projection: 'posts', version: expect.any(Number), generation: 2, rows: 1, differing: 0},
      },
      {
        type: 'ProjectionRebuilt',
        data: {projection: 'users', version: expect.any(Number), generation: 2, rows: 1, differing: 0},
      },
      {type: 'ProjectionRolledBack', data: {projection: 'posts', version: expect.any(Number), generation: 1}},
      {type: 'ErasureOrdered', data: {userId: ann.id}},
    ])
    for (const {metadata} of events) expect(metadata.actor).toBe('operator')
    const [first, second, , ordered] = events.map(({metadata}) => metadata)
    expect(first!.correlationId).toBe(second!.correlationId)
    const erased = (await storedEvents(server, `user-${ann.id}`)).at(-1)!
    expect(erased).toMatchObject({
      type: 'UserErased',
      metadata: {actor: 'operator', correlationId: ordered!.correlationId, causationId: expect.any(String)},
    })

    await run('keys', 'rotate')
    expect((await written()).slice(4)).toMatchObject([
      {type: 'MasterKeyRotated', data: {}, metadata: {actor: 'operator', command: 'rotateKeys'}},
    ])
  })
})
