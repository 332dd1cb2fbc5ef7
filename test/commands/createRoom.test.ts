import {describe, expect, it} from 'vitest'
import {createRoom} from '../../src/commands/createRoom.ts'
import {newRoomId} from '../../src/keys/ids.ts'
import {beganAtIn} from '../../src/streams/beganAt.ts'
import {joined, roomCreated} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'
import {person} from '../support/specification.ts'

const ann = person('Ann')
const context = {correlationId: 'request'}

describe('createRoom', () => {
  overEachLog((here) => {
    const create = (roomId: ReturnType<typeof newRoomId>, name = 'Lobby', node = here.node) =>
      createRoom(
        {execute: node.execute, beganAt: beganAtIn(here.place)},
        {by: ann, roomId, name, visibility: 'invite'},
        context,
      )

    it('writes the room and its first member in one append', async () => {
      const roomId = newRoomId()
      await here.place.given()
      const created = await create(roomId)
      const [event, member, ...rest] = await here.place.logged()
      expect(rest).toEqual([])
      expect(event).toMatchObject({
        ...roomCreated(roomId, ann),
        stream: `room-${roomId}`,
        metadata: {actor: ann.userId, command: 'createRoom', correlationId: 'request'},
      })
      expect(member).toMatchObject({...joined(roomId, ann), stream: `room-${roomId}`, revision: 1})
      expect(created).toEqual({position: member!.position, time: event!.metadata.time})
    })

    it('answers a repeat as the first time, and writes nothing, on every node', async () => {
      const roomId = newRoomId()
      const first = await create(roomId)
      await here.place.given()
      const other = await here.place.startNode()
      for (const node of [here.node, other]) expect(await create(roomId, 'Lobby', node)).toEqual(first)
      expect(await here.place.happened()).toEqual([])
    })

    it('refuses another room under the same id', async () => {
      const roomId = newRoomId()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann))
      expect(await create(roomId, 'Hall')).toEqual({refused: 'IDEMPOTENCY_KEY_REUSED'})
      expect(await here.place.happened()).toEqual([])
    })
  })
})
