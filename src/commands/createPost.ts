import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideCreatePost, type Post, type PostContent, type PostId} from '../domain/post.ts'
import type {Actor} from '../domain/user.ts'
import type {BeganAt} from '../streams/beganAt.ts'
import {postFold, postStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/** `postId` is new, or derived from an Idempotency-Key: then a repeat answers with the post as it was first created. */
export const createPost = async (
  {execute, beganAt}: {execute: Execute; beganAt: BeganAt},
  {by, postId, content}: {by: Actor; postId: PostId; content: PostContent},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{post: Extract<Post, {kind: 'post'}>; position: bigint; time: string} | Refusal> => {
  const created = await execute.execute(
    postStream(postId),
    postFold,
    {...context, name: 'createPost', actor: by.userId},
    (post) => decideCreatePost(post, postId, by, content),
    {begins: true},
  )
  if (isRefusal(created)) return created
  if (created.state.kind === 'none') throw new Error('a post was created and is not there')
  const time = created.events.length > 0 ? created.time : await beganAt(postStream(postId))
  return {post: created.state, position: created.position!, time}
}
