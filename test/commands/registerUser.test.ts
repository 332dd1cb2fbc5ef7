import {randomUUID} from 'node:crypto'
import {describe, expect, it} from 'vitest'
import {registerUser} from '../../src/commands/registerUser.ts'
import {LogUnavailable} from '../../src/log/eventLog.ts'
import {claimed} from '../support/events.ts'
import {takeMails} from '../support/mails.ts'
import {overEachLog} from '../support/place.ts'

const context = {actor: null, correlationId: 'request'}
const registration = () => ({email: `${randomUUID()}@example.com`, passwordHash: 'a hash', username: 'Ann'})

describe('registerUser', () => {
  overEachLog((here) => {
    const register = async (given = registration(), {mail, taken} = takeMails(here.place.log)) => {
      const {keys} = here.place
      const result = await registerUser({execute: here.node.execute, keys, mail}, given, context)
      if ('refused' in result) throw new Error(result.refused)
      return {...result, mail: taken.at(-1)!}
    }

    it('begins an attempt in a stream of its own, with the hash of the mailed token', async () => {
      const given = registration()
      await here.place.given()
      const began = Date.now()
      const {userId, position, mail} = await register(given)
      const [event, ...rest] = await here.place.logged()
      expect(rest).toEqual([])
      expect(event).toMatchObject({
        stream: `user-${userId}`,
        revision: 0,
        position,
        type: 'UserRegistered',
        data: {
          ...given,
          userId,
          provider: 'email',
          identity: here.place.keys.identityHash('email', given.email),
          tokenHash: mail.token.hash,
          tokenExpiresAt: mail.token.expiresAt,
        },
        metadata: {command: 'registerUser', actor: null, correlationId: 'request'},
      })
      expect(JSON.stringify(event!.data)).not.toContain(mail.token.secret)
      const lives = Date.parse(mail.token.expiresAt) - began
      expect(lives).toBeGreaterThanOrEqual(24 * 3_600_000)
      expect(lives).toBeLessThan(24 * 3_600_000 + 10_000)
    })

    it('queues the mail before the event is there, and releases it when it is', async () => {
      const given = registration()
      const {mail, userId} = await register(given)
      expect(mail).toMatchObject({
        to: given.email,
        username: 'Ann',
        token: {userId},
        inLogWhenQueued: false,
        inLogWhenReleased: true,
      })
    })

    it('lets an address be registered again and again, while nobody has verified it', async () => {
      const given = registration()
      const first = await register(given)
      const second = await register({...given, username: 'Eve'})
      expect(second.userId).not.toBe(first.userId)
      expect(second.mail.token.hash).not.toBe(first.mail.token.hash)
    })

    it('refuses an address that somebody has verified, without a mail', async () => {
      const given = registration()
      const {keys, log} = here.place
      const identity = keys.identityHash('email', given.email)
      await here.place.given(claimed(identity, 'email_somebody'))
      const {mail, taken} = takeMails(log)
      expect(await registerUser({execute: here.node.execute, keys, mail}, given, context)).toEqual({
        refused: 'EMAIL_TAKEN',
      })
      expect(taken).toEqual([])
      expect(await here.place.happened()).toEqual([])
    })

    it('registers nobody whose mail can not be queued', async () => {
      await here.place.given()
      const full = {enqueue: () => Promise.reject(new Error('full')), release: async () => {}}
      await expect(register(registration(), {mail: full, taken: []})).rejects.toThrow('full')
      expect(await here.place.happened()).toEqual([])
    })

    it('releases no mail while nobody knows whether its event is in the log', async () => {
      const {keys, log} = here.place
      const away = await here.place.startNode({
        wrap: (inner) => ({...inner, append: () => Promise.reject(new LogUnavailable('away'))}),
      })
      const {mail, taken} = takeMails(log)
      await expect(registerUser({execute: away.execute, keys, mail}, registration(), context)).rejects.toThrow(
        LogUnavailable,
      )
      expect(taken).toMatchObject([{inLogWhenReleased: null}])
    })
  })
})
