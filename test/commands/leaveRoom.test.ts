import {describe, expect, it} from 'vitest'
import {leaveRoom} from '../../src/commands/leaveRoom.ts'
import {newRoomId} from '../../src/keys/ids.ts'
import {declined, invited, joined, left, roomCreated} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'
import {person} from '../support/specification.ts'

const ann = person('Ann')
const bob = person('Bob')
const context = {correlationId: 'request'}

describe('leaveRoom', () => {
  overEachLog((here) => {
    const leave = (roomId: ReturnType<typeof newRoomId>, by = bob) =>
      leaveRoom({execute: here.node.execute}, {by, roomId}, context)

    it('lets a member leave, and the last one too', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann), joined(roomId, bob))
      await leave(roomId)
      const result = await leave(roomId, ann)
      expect(await here.place.happened()).toEqual([left(roomId, bob), left(roomId, ann)])
      expect(result).toEqual({position: await here.place.log.head()})
      const [event] = await here.place.logged()
      expect(event).toMatchObject({stream: `room-${roomId}`, metadata: {actor: bob.userId, command: 'leaveRoom'}})
    })

    it('declines for the invited', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann), invited(roomId, bob.identity!, ann))
      await leave(roomId)
      expect(await here.place.happened()).toEqual([declined(roomId, bob)])
    })

    it('refuses who is not in it, and a room that is not there', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann))
      expect(await leave(roomId)).toEqual({refused: 'NOT_A_MEMBER'})
      expect(await leave(newRoomId())).toEqual({refused: 'NOT_FOUND'})
      expect(await here.place.happened()).toEqual([])
    })

    it('lets one of two leaves at once be the leave', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann), joined(roomId, bob))
      const results = await Promise.all([leave(roomId), leave(roomId)])
      expect(results).toContainEqual({refused: 'NOT_A_MEMBER'})
      expect(await here.place.happened()).toEqual([left(roomId, bob)])
    })
  })
})
