import {describe, expect, it} from 'vitest'
import {createPost} from '../../src/commands/createPost.ts'
import {newPostId} from '../../src/keys/ids.ts'
import {beganAtIn} from '../../src/streams/beganAt.ts'
import {postCreated} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'
import {person} from '../support/specification.ts'

const ann = person('Ann')
const content = {title: 'Hello', body: 'all', attachments: ['https://a.example/1']}
const context = {correlationId: 'request'}

describe('createPost', () => {
  overEachLog((here) => {
    const create = (postId: ReturnType<typeof newPostId>, said = content, node = here.node) =>
      createPost({execute: node.execute, beganAt: beganAtIn(here.place)}, {by: ann, postId, content: said}, context)

    it('writes the post into a stream of its own, and answers with it', async () => {
      const postId = newPostId()
      await here.place.given()
      const created = await create(postId)
      const [event, ...rest] = await here.place.logged()
      expect(rest).toEqual([])
      expect(event).toMatchObject({
        ...postCreated(postId, ann, content),
        stream: `post-${postId}`,
        metadata: {actor: ann.userId, command: 'createPost', correlationId: 'request'},
      })
      expect(created).toEqual({
        post: {kind: 'post', ...event!.data},
        position: event!.position,
        time: event!.metadata.time,
      })
    })

    it('answers a repeat as the first time, and writes nothing, on every node', async () => {
      const postId = newPostId()
      const first = await create(postId)
      await here.place.given()
      const other = await here.place.startNode()
      for (const node of [here.node, other, here.node]) expect(await create(postId, content, node)).toEqual(first)
      expect(await here.place.happened()).toEqual([])
    })

    it('writes one post where two nodes get the same request at once', async () => {
      const postId = newPostId()
      await here.place.given()
      const other = await here.place.startNode()
      const [one, two] = await Promise.all([create(postId), create(postId, content, other)])
      expect(one).toEqual(two)
      expect(await here.place.happened()).toEqual([postCreated(postId, ann, content)])
    })

    it('refuses another post under the same id', async () => {
      const postId = newPostId()
      await here.place.given(postCreated(postId, ann, content))
      expect(await create(postId, {...content, title: 'Bye'})).toEqual({refused: 'IDEMPOTENCY_KEY_REUSED'})
      expect(await here.place.happened()).toEqual([])
    })
  })
})
