import {describe, expect, it} from 'vitest'
import {joinRoom} from '../../src/commands/joinRoom.ts'
import {newRoomId} from '../../src/keys/ids.ts'
import {invited, joined, left, roomCreated} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'
import {bot, person} from '../support/specification.ts'

const ann = person('Ann')
const bob = person('Bob')
const context = {correlationId: 'request'}

describe('joinRoom', () => {
  overEachLog((here) => {
    const join = (roomId: ReturnType<typeof newRoomId>, by = bob, node = here.node) =>
      joinRoom({execute: node.execute}, {by, roomId}, context)

    it('lets the invited join, and uses the invitation up', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann), invited(roomId, bob.identity!, ann))
      const result = await join(roomId)
      expect(await here.place.happened()).toEqual([joined(roomId, bob, bob.identity)])
      expect(result).toEqual({position: await here.place.log.head()})
      const [event] = await here.place.logged()
      expect(event).toMatchObject({stream: `room-${roomId}`, metadata: {actor: bob.userId, command: 'joinRoom'}})
    })

    it('takes joining twice for once, also at once on two nodes', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann, {visibility: 'open'}), joined(roomId, ann))
      const other = await here.place.startNode()
      const results = await Promise.all([join(roomId), join(roomId), join(roomId, bob, other)])
      for (const result of results) expect(result).toEqual({position: await here.place.log.head()})
      expect(await here.place.happened()).toEqual([joined(roomId, bob)])
    })

    it('lets in again who left on another node, though this one remembers them as a member', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann, {visibility: 'open'}), joined(roomId, ann))
      await join(roomId)
      await here.place.given(left(roomId, bob))
      await join(roomId)
      expect(await here.place.happened()).toEqual([joined(roomId, bob)])
    })

    it('adds a bot without an invitation', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann))
      await join(roomId, bot('Echo'))
      expect(await here.place.happened()).toEqual([joined(roomId, bot('Echo'))])
    })

    it('refuses who is not invited, and a room that is not there', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann))
      expect(await join(roomId)).toEqual({refused: 'NOT_INVITED'})
      expect(await join(newRoomId())).toEqual({refused: 'NOT_FOUND'})
      expect(await here.place.happened()).toEqual([])
    })
  })
})
