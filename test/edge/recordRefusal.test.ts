import {beforeAll, describe, expect, it} from 'vitest'
import {makeSchema} from '../../src/database/schema.ts'
import {REFUSALS_PER_HOUR, type RefusalEvent} from '../../src/domain/access.ts'
import {recordRefusal} from '../../src/edge/recordRefusal.ts'
import {openUnwritten, UNWRITTEN_DDL} from '../../src/edge/refusals.ts'
import {newUserId} from '../../src/keys/ids.ts'
import {attempted, claimed} from '../support/events.ts'
import {type Node, overEachLog} from '../support/place.ts'
import {identityOf} from '../support/specification.ts'

const context = {name: 'logIn', actor: null, correlationId: 'request'}

describe('recordRefusal', () => {
  overEachLog((here) => {
    beforeAll(() => makeSchema(here.place.pool, [UNWRITTEN_DDL]))

    const known = async () => {
      const userId = newUserId('email')
      await here.place.given(attempted(userId, identityOf(userId)), claimed(identityOf(userId), userId))
      return userId
    }
    const fail = (
      userId: ReturnType<typeof newUserId>,
      {minutes = 0, node = here.node as Pick<Node, 'execute'>} = {},
    ) =>
      recordRefusal(
        {execute: node.execute, unwritten: openUnwritten(here.place.pool)},
        {type: 'SignInFailed', data: {userId, by: 'password', refused: 'WRONG_CREDENTIALS'}},
        new Date(Date.UTC(2026, 0, 1, 0, minutes)),
        context,
      )
    const written = async () => (await here.place.happened()).map(({data}) => (data as RefusalEvent['data']).unwritten)

    it('writes down who, when and why, and nothing that was entered', async () => {
      const userId = await known()
      await fail(userId)
      const [event, ...rest] = await here.place.logged()
      expect(rest).toEqual([])
      expect(event).toMatchObject({
        stream: `access-${userId}`,
        type: 'SignInFailed',
        data: {userId, by: 'password', refused: 'WRONG_CREDENTIALS', at: '2026-01-01T00:00:00.000Z', unwritten: 0},
        metadata: {actor: null, command: 'logIn', correlationId: 'request'},
      })
    })

    it('writes nothing for an id that nobody has, and makes no key', async () => {
      await known()
      const nobody = newUserId('email')
      await fail(nobody)
      expect(await here.place.happened()).toEqual([])
      const {rows} = await here.place.pool.query('SELECT FROM keys.people WHERE person = $1', [nobody])
      expect(rows).toEqual([])
    })

    it('counts what is past the bound, over nodes and restarts, and tells it by the next one', async () => {
      const userId = await known()
      const nodes = await Promise.all([here.place.startNode(), here.place.startNode()])
      await Promise.all(Array.from({length: REFUSALS_PER_HOUR + 12}, (_, n) => fail(userId, {node: nodes[n % 2]!})))
      const before = await written()
      expect(before).toHaveLength(REFUSALS_PER_HOUR)
      const restarted = await here.place.startNode()
      await fail(userId, {node: restarted, minutes: 59})
      expect(await written()).toHaveLength(REFUSALS_PER_HOUR)
      await fail(userId, {node: restarted, minutes: 60})
      const after = await written()
      expect(after).toHaveLength(REFUSALS_PER_HOUR + 1)
      expect(after.reduce((sum, count) => sum + count)).toBe(13)
    })

    it('counts one that the log would not take', async () => {
      const userId = await known()
      const broken = await here.place.startNode({
        wrap: (log) => ({...log, append: () => Promise.reject(new Error('the disk is full'))}),
      })
      await expect(fail(userId, {node: broken})).rejects.toThrow('the disk is full')
      await fail(userId)
      expect(await written()).toEqual([1])
    })
  })
})
