import {randomUUID} from 'node:crypto'
import {describe, expect, it} from 'vitest'
import {inviteUser, type Named} from '../../src/commands/inviteUser.ts'
import type {IdentityHash} from '../../src/domain/identity.ts'
import {newRoomId, newUserId} from '../../src/keys/ids.ts'
import {attempted, claimed, invited, joined, roomCreated} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'
import {person} from '../support/specification.ts'

const ann = person('Ann')
const context = {correlationId: 'request'}
const newPerson = () => ({userId: newUserId('email'), identity: randomUUID() as string as IdentityHash})

describe('inviteUser', () => {
  overEachLog((here) => {
    const invite = (roomId: ReturnType<typeof newRoomId>, whom: Named, by = ann) =>
      inviteUser({execute: here.node.execute}, {by, roomId, whom}, context)

    it.each(['nobody has claimed', 'somebody has claimed'])(
      'invites an identity that %s, with the same answer',
      async (who) => {
        const roomId = newRoomId()
        const {userId, identity} = newPerson()
        await here.place.given(roomCreated(roomId, ann), joined(roomId, ann))
        if (who.startsWith('somebody')) await here.place.given(attempted(userId, identity), claimed(identity, userId))
        const result = await invite(roomId, {identity})
        expect(await here.place.happened()).toEqual([invited(roomId, identity, ann)])
        expect(result).toEqual({position: await here.place.log.head()})
        const [event] = await here.place.logged()
        expect(event).toMatchObject({stream: `room-${roomId}`, metadata: {actor: ann.userId, command: 'inviteUser'}})
      },
    )

    it('invites by the identity whoever is named by id, so that one person has one invitation', async () => {
      const roomId = newRoomId()
      const {userId, identity} = newPerson()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann))
      await here.place.given(attempted(userId, identity), claimed(identity, userId))
      await invite(roomId, {userId})
      await invite(roomId, {identity})
      await invite(roomId, {userId})
      expect(await here.place.happened()).toEqual([
        invited(roomId, identity, ann, {named: userId}),
        invited(roomId, identity, ann, {standing: 'old'}),
      ])
    })

    it('invites an id that nobody has, by an event of the same size and with the same answer', async () => {
      const roomId = newRoomId()
      const {userId} = newPerson()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann))
      const result = await invite(roomId, {userId})
      const [event] = await here.place.happened()
      expect(event).toMatchObject({type: 'UserInvited', data: {named: userId, standing: 'new'}})
      expect(event).toHaveProperty('data.invitee', expect.stringMatching(/^[0-9a-f]{64}$/))
      expect(result).toEqual({position: await here.place.log.head()})
    })

    it('does not invite a member, however named', async () => {
      const roomId = newRoomId()
      const {userId, identity} = newPerson()
      const member = {userId, identity, username: 'Bob', isBot: false}
      await here.place.given(attempted(userId, identity), claimed(identity, userId))
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann), joined(roomId, member))
      for (const whom of [{userId}, {identity}]) expect(await invite(roomId, whom)).toHaveProperty('position')
      expect(await here.place.happened()).toEqual([invited(roomId, identity, ann, {standing: 'old'})])
    })

    it('refuses an inviter who is not in the room, and a room that is not there', async () => {
      const roomId = newRoomId()
      const {identity} = newPerson()
      await here.place.given(roomCreated(roomId, ann), joined(roomId, ann))
      expect(await invite(roomId, {identity}, person('Eve'))).toEqual({refused: 'NOT_A_MEMBER'})
      expect(await invite(newRoomId(), {identity})).toEqual({refused: 'NOT_FOUND'})
      expect(await here.place.happened()).toEqual([])
    })
  })
})
